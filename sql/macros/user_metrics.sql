-- One row per judged user: ranking metrics of the judged list at k over what was held out.
-- parameters: k
with users as (
    select * from {{ ref('int_user_metrics') }}
    where segment = 'all'
),

final as (
    select
        user_id,
        held_out,
        hits,
        recall,
        ndcg,
        map,
        mrr,
        hit_rate,
        precision
    from users
)

select * from final
