-- One row per item id that is missing or stands twice.
-- severity: error
-- expected: an item once, with an id
with final as (
    select
        item_id,
        count(*) as times
    from items
    group by item_id
    having count(*) > 1 or coalesce(item_id, '') = ''
)

select * from final
