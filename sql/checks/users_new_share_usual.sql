-- One row where many users are unknown to the parent run: ids that are written in another way look like this.
-- severity: warn
-- expected: at most 25 % of the users unknown to the parent run (audit.max_new_users)
-- needs: parent
with unknown as (
    select
        count(*) as amount,
        count(*) filter (parent_users.user_id is null) as new
    from users
    left join parent_users on users.user_id = parent_users.user_id
),

final as (
    select
        format('{:,d} of {:,d} users are new: {:.1f} %', new, amount, 100 * new / amount) as observed,
        format('at most {:.1f} % (audit.max_new_users)', 100 * max_new_users) as expected
    from unknown
    cross join audit_settings
    where new > max_new_users * amount
)

select * from final
