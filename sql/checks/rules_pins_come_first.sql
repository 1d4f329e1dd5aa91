-- One row per pinned recommendation that is no pin of its user or out of order, and per pin that is listed as no pin.
-- severity: error
-- expected: pins of the user, in their order, with the source pinned
-- needs: rules
with mine as (
    select
        pinned_for.user_id,
        pins.item_id,
        min(pins.place) as place
    from pins
    inner join pinned_for on pins.segment = pinned_for.segment
    group by pinned_for.user_id, pins.item_id
),

listed as (
    select
        recommendations.user_id,
        recommendations.rank,
        recommendations.item_id,
        recommendations.source,
        mine.place,
        lag(mine.place) over (partition by recommendations.user_id order by recommendations.rank) as place_before
    from recommendations
    left join mine
        on recommendations.user_id = mine.user_id and recommendations.item_id = mine.item_id
    where recommendations.source = 'pinned' or mine.place is not null
),

final as (
    select * from listed
    where (source = 'pinned') <> (place is not null) or place < place_before
)

select * from final
