-- One row per buffer row of an earlier source than the row before it, or of the same source with a higher score.
-- severity: error
-- expected: the buffer goes on where the list ends
-- ends: joined to the first row of each user only; else DuckDB hashes the whole buffer
with list_ends as (
    select
        user_id,
        source,
        score
    from recommendations
    cross join run_settings
    where rank = run_settings.k
),

buffer as (
    select
        user_id,
        rank,
        source,
        score,
        lag(user_id) over () as user_before,
        lag(source) over () as source_before,
        lag(score) over () as score_before
    from recommendations_buffer
),

steps as (
    select
        user_id,
        rank,
        source,
        score,
        source_before,
        score_before
    from buffer
    where user_id = user_before
    union all
    select
        buffer.user_id,
        buffer.rank,
        buffer.source,
        buffer.score,
        list_ends.source as source_before,
        list_ends.score as score_before
    from buffer
    inner join list_ends using (user_id)
    where buffer.user_id is distinct from buffer.user_before
),

final as (
    select * from steps
    where
        list_position(['pinned', 'model', 'segment', 'popular'], source)
        < list_position(['pinned', 'model', 'segment', 'popular'], source_before)
        or (source = source_before and score > score_before)
)

select * from final
