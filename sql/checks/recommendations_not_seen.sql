-- One row per recommendation of an item that stands in the user's history, within `rules.seen_window_days` if set.
-- severity: error
-- expected: no seen titles
-- needs: seen
-- unless: keep_seen
with recommendations as (
    select * from recommendations
    union all
    select * from recommendations_buffer
),

final as (
    select
        recommendations.user_id,
        recommendations.rank,
        recommendations.item_id
    from recommendations
    semi join seen
        on recommendations.user_id = seen.user_id and recommendations.item_id = seen.item_id and seen.barred
)

select * from final
