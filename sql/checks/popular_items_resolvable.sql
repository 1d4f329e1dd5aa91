-- One row per popular title that items does not list, or lists under another title, or with a score that is no number.
-- severity: error
-- expected: item_id and title as in items, finite scores
with final as (
    select
        popular.segment,
        popular.rank,
        popular.item_id,
        popular.title,
        popular.score,
        items.title as title_in_items
    from popular
    left join items using (item_id)
    where items.title is distinct from popular.title or not coalesce(isfinite(popular.score), false)
)

select * from final
