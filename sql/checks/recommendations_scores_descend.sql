-- One row per recommendation that scores more than the one before it of the same user and source.
-- severity: error
-- expected: scores never rise within a user and source
with recommendations as (
    select
        user_id,
        rank,
        source,
        score,
        lag(user_id) over () as user_before,
        lag(source) over () as source_before,
        lag(score) over () as score_before
    from recommendations
),

final as (
    select user_id, rank, source, score, score_before from recommendations
    where user_id = user_before and source = source_before and score > score_before
)

select * from final
