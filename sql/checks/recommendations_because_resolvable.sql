-- One row per recommendation that gives as its reason an item which items does not list.
-- severity: error
-- expected: because_item_id in items, or null
with recommendations as (
    select * from recommendations
    union all
    select * from recommendations_buffer
),

final as (
    select user_id, rank, because_item_id from recommendations
    anti join items on recommendations.because_item_id = items.item_id
    where because_item_id is not null
)

select * from final
