-- One row per recommendation of a title that `rules.deny` keeps from the user.
-- severity: error
-- expected: no denied titles
-- needs: rules
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
    semi join denied
        on recommendations.user_id = denied.user_id and recommendations.item_id = denied.item_id
)

select * from final
