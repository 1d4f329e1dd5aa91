-- One row where the newest day has far more or fewer events than the newest days of the last runs, by more than chance.
-- severity: warn
-- expected: a third to three times the median newest day of the last 7 runs (audit.volume_factor)
-- needs: earlier
with usual as (
    select median(newest_day_events) as events from nights
    where age > 0
),

final as (
    select
        format('{:,d} events on the newest day', nights.newest_day_events) as observed,
        format(
            '{:,.0f} to {:,.0f}: the usual {:,.0f} by a factor of {:.1f} (audit.volume_factor)',
            usual.events / volume_factor, usual.events * volume_factor, usual.events, volume_factor
        ) as expected
    from nights
    cross join usual
    cross join audit_settings
    where
        nights.age = 0
        and nights.newest_day_events not between usual.events / volume_factor and usual.events * volume_factor
        -- Four standard deviations of a Poisson count: a handful of events a day says nothing.
        and abs(nights.newest_day_events - usual.events) > 4 * sqrt(usual.events + 1)
)

select * from final
