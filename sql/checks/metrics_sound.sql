-- One row per metric that is no finite number or lies outside its own interval.
-- severity: error
-- expected: finite, ci_low <= value <= ci_high, users >= 0
with final as (
    select * from metrics
    where
        not coalesce(isfinite(value) and isfinite(ci_low) and isfinite(ci_high), false)
        or value < ci_low
        or value > ci_high
        or coalesce(users, -1) < 0
)

select * from final
