-- One row per neighbour whose rank is not one more than the rank before it.
-- severity: error
-- expected: ranks 1, 2, 3, … within each item, in file order
with similar_items as (
    select
        item_id,
        rank,
        lag(item_id) over () as item_before,
        lag(rank) over () as rank_before
    from similar_items
),

final as (
    select item_id, rank, rank_before from similar_items
    where rank is distinct from if(item_id = item_before, rank_before + 1, 1)
)

select * from final
