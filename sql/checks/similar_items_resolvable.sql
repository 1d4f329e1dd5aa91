-- One row per neighbour that items does not list, or lists under another title, or that is the item itself.
-- severity: error
-- expected: other items, ids and titles as in items, finite scores
with similar_items as (
    select * from similar_items
),

final as (
    select
        similar_items.item_id,
        similar_items.rank,
        similar_items.similar_item_id,
        similar_items.similar_title,
        similar_items.score
    from similar_items
    left join items on similar_items.similar_item_id = items.item_id
    left join items as asked on similar_items.item_id = asked.item_id
    where
        items.title is distinct from similar_items.similar_title
        or asked.item_id is null
        or similar_items.item_id = similar_items.similar_item_id
        or not coalesce(isfinite(similar_items.score), false)
)

select * from final
