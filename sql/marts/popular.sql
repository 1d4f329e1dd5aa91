-- One row per segment and rank: what an unknown user gets.
with popular as (
    select * from {{ ref('stg_popular') }}
),

final as (
    select
        segment,
        rank,
        item_id,
        title,
        score
    from popular
)

select * from final
