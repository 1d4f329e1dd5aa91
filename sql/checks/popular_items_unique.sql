-- One row per segment and item that stands twice in it.
-- severity: error
-- expected: an item once per segment
with final as (
    select
        segment,
        item_id,
        count(*) as times
    from popular
    group by segment, item_id
    having count(*) > 1
)

select * from final
