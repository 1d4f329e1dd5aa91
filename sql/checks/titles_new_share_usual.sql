-- One row where many titles are unknown to the parent run: ids that are written in another way look like this.
-- severity: warn
-- expected: at most 25 % of the titles unknown to the parent run (audit.max_new_titles)
-- needs: parent
with unknown as (
    select
        count(*) as amount,
        count(*) filter (parent_items.item_id is null) as new
    from items
    left join parent_items on items.item_id = parent_items.item_id
),

final as (
    select
        format('{:,d} of {:,d} titles are new: {:.1f} %', new, amount, 100 * new / amount) as observed,
        format('at most {:.1f} % (audit.max_new_titles)', 100 * max_new_titles) as expected
    from unknown
    cross join audit_settings
    where new > max_new_titles * amount
)

select * from final
