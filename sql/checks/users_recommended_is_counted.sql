-- One row per user whose `recommended` is not the number of rows the user has.
-- severity: error
-- expected: users.recommended = rows in recommendations
with lists as (
    select
        user_id,
        count(*) as counted
    from recommendations
    group by user_id
),

final as (
    select
        user_id,
        users.recommended,
        coalesce(lists.counted, 0) as counted
    from users
    left join lists using (user_id)
    where users.recommended is distinct from coalesce(lists.counted, 0)
)

select * from final
