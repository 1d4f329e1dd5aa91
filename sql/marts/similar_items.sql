-- One row per item and rank: its nearest neighbours.
with similar_items as (
    select * from {{ ref('stg_similar_items') }}
),

final as (
    select
        item_id,
        rank,
        similar_item_id,
        similar_title,
        score
    from similar_items
)

select * from final
