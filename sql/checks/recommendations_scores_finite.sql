-- One row per recommendation with a score that is no finite number.
-- severity: error
-- expected: finite scores
with recommendations as (
    select * from recommendations
    union all
    select * from recommendations_buffer
),

final as (
    select user_id, rank, item_id, score from recommendations
    where not coalesce(isfinite(score), false)
)

select * from final
