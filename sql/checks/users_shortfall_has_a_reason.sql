-- One row per user with fewer than k rows and no reason, with k and a reason, or with more than k.
-- severity: error
-- expected: exactly k rows, or fewer with a shortfall_reason
with final as (
    select
        users.user_id,
        users.recommended,
        users.shortfall_reason,
        run_settings.k
    from users
    cross join run_settings
    where
        users.recommended > run_settings.k
        or (users.recommended < run_settings.k) = (coalesce(users.shortfall_reason, '') = '')
)

select * from final
