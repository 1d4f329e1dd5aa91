-- One row where fewer events came in than one of the last runs had, beyond what forgetting and repairs explain.
-- severity: warn
-- expected: as many events as in each of the last 7 runs, or 1 % fewer (audit.max_events_lost)
-- needs: earlier
with most as (
    select
        max(events) as events,
        arg_max(run_id, events) as run_id
    from nights
    where age > 0
),

final as (
    select
        format('{:,d} events, {:.1f} % fewer', nights.events, 100 * (1 - nights.events / most.events)) as observed,
        format(
            'at most {:.1f} % fewer than the {:,d} of {} (audit.max_events_lost)',
            100 * max_events_lost, most.events, most.run_id
        ) as expected
    from nights
    cross join most
    cross join audit_settings
    where nights.age = 0 and nights.events < (1 - max_events_lost) * most.events
)

select * from final
