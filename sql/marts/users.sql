-- One row per user known by the run date.
with users as (
    select * from {{ ref('stg_users') }}
),

final as (
    select
        user_id,
        interactions,
        first_at,
        last_at,
        status,
        recommended,
        shortfall_reason,
        * exclude (user_id, interactions, first_at, last_at, status, recommended, shortfall_reason)
    from users
)

select * from final
