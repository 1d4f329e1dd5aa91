-- One row per user and rank: the list of the live run, best first.
with recommendations as (
    select * from {{ ref('stg_recommendations') }}
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
    from recommendations
)

select * from final
