-- One row per user: the whole list of the live run in one value, best first.
-- recommendations: structs of rank, item_id, title, score, source and because_item_id, in rank order
with recommendations as (
    select * from {{ ref('stg_recommendations') }}
),

final as (
    select
        user_id,
        list(
            {
                'rank': rank,
                'item_id': item_id,
                'title': title,
                'score': score,
                'source': source,
                'because_item_id': because_item_id
            }
            order by rank
        ) as recommendations
    from recommendations
    group by user_id
)

select * from final
