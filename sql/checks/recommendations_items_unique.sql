-- One row per user and item that stands twice in the user's list.
-- severity: error
-- expected: an item once per user
with final as (
    select
        user_id,
        item_id,
        count(*) as times
    from recommendations
    group by user_id, item_id
    having count(*) > 1
)

select * from final
