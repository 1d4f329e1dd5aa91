-- One row per recommendation of an item that items does not list, or lists under another title.
-- severity: error
-- expected: item_id and title as in items
with recommendations as (
    select * from recommendations
    union all
    select * from recommendations_buffer
),

final as (
    select
        recommendations.user_id,
        recommendations.rank,
        recommendations.item_id,
        recommendations.title,
        items.title as title_in_items
    from recommendations
    left join items using (item_id)
    where items.title is distinct from recommendations.title
)

select * from final
