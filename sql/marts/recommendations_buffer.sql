-- One row per user and rank behind the list, ranks k+1 to k+b: what the live view draws on.
with recommendations_buffer as (
    select * from {{ ref('stg_recommendations_buffer') }}
),

final as (
    select
        user_id,
        rank,
        item_id,
        title,
        score,
        source,
        because_item_id
    from recommendations_buffer
)

select * from final
