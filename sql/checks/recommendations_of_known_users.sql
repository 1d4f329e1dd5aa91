-- One row per user who has recommendations and does not stand in users.
-- severity: error
-- expected: recommendations for known users only
with listed as (
    select distinct user_id from recommendations
    union
    select distinct user_id from recommendations_buffer
),

final as (
    select user_id from listed
    anti join users using (user_id)
)

select * from final
