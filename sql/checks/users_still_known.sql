-- One row where most users of the parent run are gone: what readers ask for has no list of its own any more.
-- severity: error
-- expected: at least half of the parent run's users (audit.least_kept)
-- needs: parent
with kept as (
    select
        count(*) as known,
        count(*) filter (users.user_id is not null) as still
    from parent_users
    left join users on parent_users.user_id = users.user_id
),

final as (
    select
        format('{:,d} of {:,d} users are still known: {:.1f} %', still, known, 100 * still / known) as observed,
        format('at least {:.0f} % (audit.least_kept)', 100 * least_kept) as expected
    from kept
    cross join audit_settings
    where still < least_kept * known
)

select * from final
