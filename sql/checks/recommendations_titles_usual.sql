-- One row where many titles enter the lists that stood in none of the parent run, or leave them.
-- severity: warn
-- expected: at most half of the listed titles in one of both runs only (audit.max_listed_titles_changed)
-- needs: parent
with tonight as (
    select distinct item_id from recommendations
),

changes as (
    select
        count(*) as amount,
        count(*) filter (parent_listed.item_id is null) as entering,
        count(*) filter (tonight.item_id is null) as leaving
    from tonight
    full join parent_listed on tonight.item_id = parent_listed.item_id
),

final as (
    select
        format(
            '{:,d} titles enter the lists and {:,d} leave them, of {:,d}: {:.1f} %',
            entering, leaving, amount, 100 * (entering + leaving) / amount
        ) as observed,
        format('at most {:.1f} % (audit.max_listed_titles_changed)', 100 * max_listed_titles_changed) as expected
    from changes
    cross join audit_settings
    where entering + leaving > max_listed_titles_changed * amount
)

select * from final
