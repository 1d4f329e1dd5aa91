-- One row per popular title whose rank is not one more than the rank before it.
-- severity: error
-- expected: ranks 1, 2, 3, … within each segment, in file order
with popular as (
    select
        segment,
        rank,
        lag(segment) over () as segment_before,
        lag(rank) over () as rank_before
    from popular
),

final as (
    select segment, rank, rank_before from popular
    where segment is null or rank is distinct from if(segment = segment_before, rank_before + 1, 1)
)

select * from final
