-- One row where many titles of the parent run are missing, those that were withdrawn not counted.
-- severity: warn
-- expected: at most 10 % of the parent run's titles missing (audit.max_titles_gone)
-- needs: parent
with kept as (
    select
        count(*) as known,
        count(*) filter (items.item_id is null) as gone
    from parent_items
    left join items on parent_items.item_id = items.item_id
),

final as (
    select
        format('{:,d} of {:,d} titles are gone: {:.1f} %', gone, known, 100 * gone / known) as observed,
        format('at most {:.1f} % (audit.max_titles_gone)', 100 * max_titles_gone) as expected
    from kept
    cross join audit_settings
    where gone > max_titles_gone * known
)

select * from final
