-- One row per recommendation in which something is missing.
-- severity: error
-- expected: user, rank, item, title, score and source are there
with recommendations as (
    select * from recommendations
    union all
    select * from recommendations_buffer
),

final as (
    select * from recommendations
    where
        coalesce(user_id, '') = ''
        or rank is null
        or coalesce(item_id, '') = ''
        or title is null
        or score is null
        or coalesce(source, '') = ''
)

select * from final
