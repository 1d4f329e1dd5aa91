-- One row per recommendation of an item that stands in the user's history, within `rules.seen_window_days` if set.
-- severity: error
-- expected: no seen titles
-- needs: seen
-- unless: keep_seen
-- rows: names become numbers first; comparing those of a pair takes half the time and memory of comparing the names
with recommendations as (
    select * from recommendations
    union all
    select * from recommendations_buffer
),

numbered as (
    select
        recommendations.user_id,
        recommendations.rank,
        recommendations.item_id,
        seen_users.user_row,
        seen_items.item_row
    from recommendations
    inner join seen_users using (user_id)
    inner join seen_items using (item_id)
),

final as (
    select
        numbered.user_id,
        numbered.rank,
        numbered.item_id
    from numbered
    semi join seen_rows
        on numbered.user_row = seen_rows.user_row and numbered.item_row = seen_rows.item_row and seen_rows.barred
)

select * from final
