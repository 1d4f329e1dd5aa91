-- One row per user and value of which a list, its buffer included, holds more titles than `rules.at_most` allows.
-- severity: error
-- expected: at most so many titles of each value
-- needs: rules
with recommendations as (
    select * from recommendations
    union all
    select * from recommendations_buffer
),

final as (
    select
        recommendations.user_id,
        limits.value,
        count(*) as titles,
        any_value(limits.at_most) as at_most
    from recommendations
    inner join limits on recommendations.item_id = limits.item_id
    group by recommendations.user_id, limits.value
    having count(*) > any_value(limits.at_most)
)

select * from final
