-- One row per recommendation whose rank is not one more than the rank before it.
-- severity: error
-- expected: ranks 1, 2, 3, … within each user, in file order
with recommendations as (
    select
        user_id,
        rank,
        lag(user_id) over () as user_before,
        lag(rank) over () as rank_before
    from recommendations
),

final as (
    select user_id, rank, rank_before from recommendations
    where rank is distinct from if(user_id = user_before, rank_before + 1, 1)
)

select * from final
