-- One row per held-out event of a user who does not stand in users.
-- severity: error
-- expected: judged users are known users
with final as (
    select
        holdout.user_id,
        holdout.item_id
    from holdout
    anti join users using (user_id)
)

select * from final
