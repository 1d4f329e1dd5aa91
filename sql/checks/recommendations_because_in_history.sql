-- One row per recommendation that gives as its reason an item the user never had.
-- severity: error
-- expected: because_item_id in the user's history, or null
-- needs: seen
-- rows: see recommendations_not_seen; an anti join would be turned round and hash the names of all lists
with recommendations as (
    select * from recommendations
    union all
    select * from recommendations_buffer
),

numbered as (
    select
        recommendations.user_id,
        recommendations.rank,
        recommendations.because_item_id,
        seen_users.user_row,
        seen_items.item_row
    from recommendations
    left join seen_users using (user_id)
    left join seen_items on recommendations.because_item_id = seen_items.item_id
    where recommendations.because_item_id is not null
),

final as (
    select
        numbered.user_id,
        numbered.rank,
        numbered.because_item_id
    from numbered
    where
        not exists (
            select 1
            from seen_rows
            where seen_rows.user_row = numbered.user_row and seen_rows.item_row = numbered.item_row
        )
)

select * from final
