-- One row per user whose id is missing, or does not follow the id before it in byte order.
-- severity: error
-- expected: user_id strictly ascending: unique, and lookups skip row groups
with users as (
    select
        user_id,
        lag(user_id) over () as id_before
    from users
),

final as (
    select user_id, id_before from users
    where user_id is null or user_id = '' or user_id <= id_before
)

select * from final
