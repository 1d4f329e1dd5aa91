-- One row where days are empty that had events in the parent run, or that came since, as no newest day of it did.
-- severity: warn
-- expected: events on every day since the parent run and on every day on which it had some
-- needs: earlier
with days as (
    select
        nights.age,
        nights.run_date::date as run_date,
        input_days.day::date as day
    from nights
    left join input_days on nights.age = input_days.age
    where nights.events is not null
),

runs as (
    select
        age,
        max(run_date) as run_date,
        max(day) as newest
    from days
    where age > 0
    group by age
),

-- Where a run ended in an empty day, empty days are usual.
daily as (
    select bool_and(newest = run_date - 1) as always from runs
),

tonight as (
    select run_date, day from days
    where age = 0
),

wanted as (
    select
        day,
        'lost' as kind
    from days
    where age = 1 and day >= (select min(run_date) - 35 from tonight)
    union
    select
        unnest(range(run_date, (select min(run_date) from tonight), interval 1 day))::date as day,
        'empty' as kind
    from runs
    cross join daily
    where age = 1 and daily.always
),

gaps as (
    select wanted.day, wanted.kind
    from wanted
    anti join tonight on wanted.day = tonight.day
),

final as (
    select
        format(
            '{:d} days without an event: {}', count(*), string_agg(format('{} {}', kind, day), ', ' order by day)
        ) as observed,
        'events on every day since the parent run and on every day on which it had some' as expected
    from gaps
    having count(*) > 0
)

select * from final
