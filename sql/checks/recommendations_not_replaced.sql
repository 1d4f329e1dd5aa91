-- One row where many users have no title of the parent run's list left.
-- severity: warn
-- expected: at most 5 % of the users with a wholly new list (audit.max_replaced)
-- needs: lists
with final as (
    select
        format('{:,d} of {:,d} users: {:.1f} %', replaced, compared, 100 * replaced / compared) as observed,
        format('at most {:.1f} % (audit.max_replaced)', 100 * max_replaced) as expected
    from list_changes
    cross join audit_settings
    where replaced > max_replaced * compared
)

select * from final
