-- One row per buffer row that does not follow the row before it, or the end of a full list.
-- severity: error
-- expected: ranks k + 1, k + 2, … within each user in file order, users ascending, for users with k rows
with buffer as (
    select
        user_id,
        rank,
        lag(user_id) over () as user_before,
        lag(rank) over () as rank_before
    from recommendations_buffer
),

final as (
    select
        buffer.user_id,
        buffer.rank,
        users.recommended,
        run_settings.k
    from buffer
    cross join run_settings
    left join users using (user_id)
    where
        buffer.rank is distinct from if(buffer.user_id = buffer.user_before, buffer.rank_before, run_settings.k) + 1
        or buffer.user_id < buffer.user_before
        or users.recommended is distinct from run_settings.k
)

select * from final
