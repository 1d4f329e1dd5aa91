-- One row where the newest event is older, seen from the run date, than in any of the last runs.
-- severity: warn
-- expected: the newest event at most one day older than in the stalest of the last 7 runs (audit.max_staleness_days)
-- needs: earlier
with ages as (
    select
        age,
        date_diff('second', newest_at::timestamp, run_date::timestamp) / 86400 as days
    from nights
    where newest_at is not null
),

stalest as (
    select max(days) as days from ages
    where age > 0
),

final as (
    select
        format('newest event {:.1f} days before the run date', ages.days) as observed,
        format(
            'at most {:.1f}: {:.1f} in the stalest recent run and {:.1f} more (audit.max_staleness_days)',
            stalest.days + max_staleness_days, stalest.days, max_staleness_days
        ) as expected
    from ages
    cross join stalest
    cross join audit_settings
    where ages.age = 0 and ages.days > stalest.days + max_staleness_days
)

select * from final
