-- One row per recommendation that gives as its reason an item the user never had.
-- severity: error
-- expected: because_item_id in the user's history, or null
-- needs: seen
with recommendations as (
    select * from recommendations
    union all
    select * from recommendations_buffer
),

final as (
    select
        recommendations.user_id,
        recommendations.rank,
        recommendations.because_item_id
    from recommendations
    anti join seen
        on recommendations.user_id = seen.user_id and recommendations.because_item_id = seen.item_id
    where recommendations.because_item_id is not null
)

select * from final
