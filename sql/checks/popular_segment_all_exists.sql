-- One row where `popular` has no segment `all`: unknown users would get nothing.
-- severity: error
-- expected: segment all with at least one title
with popular as (
    select count(*) filter (segment = 'all') as titles from popular
),

final as (
    select titles from popular
    where titles = 0
)

select * from final
