-- One row per recommendation whose user does not follow the user before it in byte order.
-- severity: error
-- expected: files sorted by user_id, so that lookups skip row groups
with recommendations as (
    select
        user_id,
        rank,
        lag(user_id) over () as user_before
    from recommendations
),

final as (
    select user_id, rank, user_before from recommendations
    where user_id < user_before
)

select * from final
