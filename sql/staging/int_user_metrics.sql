-- One row per segment and judged user: ranking metrics at the macro's k, defined as in recbatch/metrics.py.
with pairs as (
    select * from {{ ref('int_judged_pairs') }}
),

ranked as (
    select
        segment,
        user_id,
        case when rank <= k then rank end as hit,
        row_number() over (partition by segment, user_id order by rank nulls last) as nth
    from pairs
),

places as (
    select unnest(range(1, k + 1)) as place
),

ideals as (
    select
        place,
        sum(1 / log2(place + 1)) over (order by place) as gain
    from places
),

summed as (
    select
        segment,
        user_id,
        count(*) as held_out,
        count(hit) as hits,
        coalesce(sum(1 / log2(hit + 1)), 0) as gain,
        coalesce(sum(nth / hit), 0) as precisions,
        coalesce(1 / min(hit), 0) as reciprocal
    from ranked
    group by segment, user_id
),

final as (
    select
        summed.segment,
        summed.user_id,
        summed.held_out,
        summed.hits,
        summed.hits / least(k, summed.held_out) as recall,
        summed.gain / ideals.gain as ndcg,
        summed.precisions / summed.held_out as map,
        summed.reciprocal as mrr,
        (summed.hits > 0)::integer::double as hit_rate,
        summed.hits / k as precision
    from summed
    inner join ideals on least(k, summed.held_out) = ideals.place
)

select * from final
