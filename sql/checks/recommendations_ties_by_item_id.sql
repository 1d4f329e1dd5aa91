-- One row per recommendation that ties with the one before it and has the smaller item id.
-- severity: error
-- expected: equal scores of a user and source stand by (length of item_id, item_id)
with recommendations as (
    select
        user_id,
        rank,
        item_id,
        source,
        score,
        lag(user_id) over () as user_before,
        lag(item_id) over () as item_before,
        lag(source) over () as source_before,
        lag(score) over () as score_before
    from recommendations
),

final as (
    select user_id, rank, item_id, item_before, score from recommendations
    where
        user_id = user_before
        and source = source_before
        and score = score_before
        and (length(item_id), item_id) < (length(item_before), item_before)
)

select * from final
