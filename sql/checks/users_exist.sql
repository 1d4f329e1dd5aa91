-- One row where the run knows no user at all.
-- severity: error
-- expected: at least one known user
with users as (
    select count(*) as known from users
),

final as (
    select known from users
    where known = 0
)

select * from final
