-- One row per segment and metric of a table of users: mean and 95 % bootstrap interval over users, nulls left out.
-- users: SQL for the table, `names`: its columns
with users as (
    select
        *,
        (md5_number_lower(user_id) % 1000)::integer as bucket
    from {{ users }}
),

bucketed as (
    select
        segment,
        bucket,
        {% for name in names %}
        sum({{ name }})::double as {{ name }}_sum,
        count({{ name }}) as {{ name }}_count{{ ',' if not loop.last }}
        {% endfor %}
    from users
    group by segment, bucket
),

weights as (
    select * from {{ ref('int_bootstrap_weights', buckets='(select distinct bucket from bucketed)') }}
    where weight > 0
),

resampled as (
    select
        bucketed.segment,
        weights.sample,
        {% for name in names %}
        sum(weights.weight * bucketed.{{ name }}_sum)
        / nullif(sum(weights.weight * bucketed.{{ name }}_count), 0) as {{ name }}{{ ',' if not loop.last }}
        {% endfor %}
    from bucketed
    inner join weights on bucketed.bucket = weights.bucket
    group by bucketed.segment, weights.sample
),

intervals as (
    select
        segment,
        {% for name in names %}
        quantile_cont({{ name }}, [0.025, 0.975]) as {{ name }}{{ ',' if not loop.last }}
        {% endfor %}
    from resampled
    group by segment
),

means as (
    select
        segment,
        {% for name in names %}
        sum({{ name }}_sum) / nullif(sum({{ name }}_count), 0) as {{ name }},
        sum({{ name }}_count)::bigint as {{ name }}_users{{ ',' if not loop.last }}
        {% endfor %}
    from bucketed
    group by segment
),

final as (
    {% for name in names %}
    select
        means.segment,
        '{{ name }}' as metric,
        means.{{ name }} as value,
        least(means.{{ name }}, intervals.{{ name }}[1]) as ci_low,
        greatest(means.{{ name }}, intervals.{{ name }}[2]) as ci_high,
        means.{{ name }}_users as users
    from means
    left join intervals on means.segment = intervals.segment
    where means.{{ name }}_users > 0
    {{ 'union all' if not loop.last }}
    {% endfor %}
)

select * from final
