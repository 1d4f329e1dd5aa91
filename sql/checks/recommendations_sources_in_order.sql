-- One row per recommendation whose source is unknown, or stands behind a later one.
-- severity: error
-- expected: pinned, then model, then segment, then popular
with recommendations as (
    select
        user_id,
        rank,
        source,
        list_position(['pinned', 'model', 'segment', 'popular'], source) as place,
        lag(user_id) over () as user_before,
        lag(source) over () as source_before,
        list_position(['pinned', 'model', 'segment', 'popular'], source_before) as place_before
    from recommendations
),

final as (
    select user_id, rank, source, source_before from recommendations
    where coalesce(place, 0) = 0 or (user_id = user_before and place < place_before)
)

select * from final
