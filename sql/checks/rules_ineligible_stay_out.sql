-- One row per title that does not meet `rules.eligible` and is recommended, popular or similar.
-- severity: error
-- expected: eligible titles only
-- needs: rules
with offered as (
    select 'recommendations' as place, item_id from recommendations
    union all
    select 'recommendations_buffer' as place, item_id from recommendations_buffer
    union all
    select 'popular' as place, item_id from popular
    union all
    select 'similar_items' as place, similar_item_id as item_id from similar_items
),

final as (
    select
        offered.place,
        offered.item_id,
        count(*) as times
    from offered
    semi join ineligible on offered.item_id = ineligible.item_id
    group by offered.place, offered.item_id
)

select * from final
