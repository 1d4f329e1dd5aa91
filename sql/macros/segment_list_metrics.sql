-- One row per segment and metric: what the first k titles are like, coverage and Gini of the catalogue among it.
-- parameters: k
{% set names = ['novelty', 'diversity', 'calibration', 'popularity', 'popularity_lift'] %}
with means as (
    select * from {{ ref('int_means', users=ref('int_list_metrics_by_segment'), names=names) }}
),

lists as (
    select
        user_id,
        item_id
    from {{ ref('stg_recommendations') }}
    where rank <= k
),

segments as (
    select * from {{ ref('int_user_segments') }}
),

candidates as (
    select
        item_id,
        count(*) over () as titles
    from {{ ref('stg_items') }}
),

users as (
    select
        segments.segment,
        count(distinct lists.user_id) as users
    from lists
    inner join segments on lists.user_id = segments.user_id
    group by segments.segment
),

amounts as (
    select
        segments.segment,
        lists.item_id,
        count(*) as amount
    from lists
    inner join segments on lists.user_id = segments.user_id
    group by segments.segment, lists.item_id
),

placed as (
    select
        amounts.segment,
        amounts.amount,
        candidates.titles,
        row_number() over (partition by amounts.segment order by amounts.amount) as place,
        count(*) over (partition by amounts.segment) as listed
    from amounts
    inner join candidates on amounts.item_id = candidates.item_id
),

catalogue as (
    select
        segment,
        count(*) / any_value(titles) as coverage,
        sum((2 * (place + titles - listed) - titles - 1) * amount) / (any_value(titles) * sum(amount)) as gini
    from placed
    group by segment
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

    union all

    select
        catalogue.segment,
        unnest(['coverage', 'gini']) as metric,
        unnest([catalogue.coverage, catalogue.gini]) as value,
        null as ci_low,
        null as ci_high,
        users.users
    from catalogue
    inner join users on catalogue.segment = users.segment
)

select * from final
