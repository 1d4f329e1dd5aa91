-- One row per segment and metric: the judged list at k by activity, tenure, status, feature, genre and source.
-- parameters: k
{% set names = ['recall', 'ndcg', 'map', 'mrr', 'hit_rate', 'precision'] %}
with means as (
    select * from {{ ref('int_means', users=ref('int_user_metrics'), names=names) }}
),

final as (
    select
        segment,
        metric,
        value,
        ci_low,
        ci_high,
        users
    from means
)

select * from final
