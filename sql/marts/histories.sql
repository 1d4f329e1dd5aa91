-- One row per user and rank: the latest titles of each user's history, latest first.
with histories as (
    select * from {{ ref('stg_histories') }}
),

final as (
    select
        user_id,
        rank,
        item_id,
        occurred_at
    from histories
)

select * from final
