-- One row where far fewer events, users or titles came in than the parent run had: a part of the source was not there.
-- severity: error
-- expected: no less than half of the parent run's events, users and titles (audit.least_kept)
-- needs: earlier
with kept as (
    select
        tonight.events as events,
        parent.events as events_before,
        tonight.users as users,
        parent.users as users_before,
        tonight.titles as titles,
        parent.titles as titles_before,
        parent.run_id as parent,
        least(
            tonight.events / parent.events, tonight.users / parent.users, tonight.titles / parent.titles
        ) as share
    from nights as tonight
    inner join nights as parent on parent.age = tonight.age + 1
    where tonight.age = 0
),

final as (
    select
        format(
            '{:,d} events, {:,d} users, {:,d} titles: {:.0f} % of {}', events, users, titles, 100 * share, parent
        ) as observed,
        format(
            'at least {:.0f} % of its {:,d} events, {:,d} users, {:,d} titles (audit.least_kept)',
            100 * least_kept, events_before, users_before, titles_before
        ) as expected
    from kept
    cross join audit_settings
    where share < least_kept
)

select * from final
