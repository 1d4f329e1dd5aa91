-- One row per rank: the nearest neighbours of one item, nearest first; columns as in similar_items.
-- parameters: item
with similar_items as (
    select * from {{ ref('stg_similar_items') }}
    where item_id = "item"::varchar
),

final as (
    select
        item_id,
        rank,
        similar_item_id,
        similar_title,
        score
    from similar_items
    order by rank
)

select * from final
