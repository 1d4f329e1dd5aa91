-- One row per user with a status that is none.
-- severity: error
-- expected: status is hot, warm or cold
with final as (
    select user_id, status from users
    where status is null or status not in ('hot', 'warm', 'cold')
)

select * from final
