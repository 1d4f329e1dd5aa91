-- One row per user known by the run date.
{% if withdrawn(live) %}
with users as (
    select
        {{ columns('users') }}
    from {{ parquet('users') }}
),

rows as (
    select user_id, item_id from {{ parquet('recommendations') }}
    union all
    select user_id, item_id from {{ parquet('recommendations_buffer') }}
),

counted as (
    select
        user_id,
        count(*) as before,
        count(*) filter (item_id not in ({{ withdrawn(live) | literals }})) as after
    from rows
    group by user_id
)

select users.* replace (
    (
        case when after < before then least(after, {{ live.head.k | literal }}) else recommended end
    )::integer as recommended,
    case
        when after < least(before, {{ live.head.k | literal }}) then coalesce(shortfall_reason, 'withdrawn')
        else shortfall_reason
    end as shortfall_reason
)
from users
left join counted using (user_id)
order by user_id
{% else %}
select
    {{ columns('users') }}
from {{ parquet('users') }}
{% endif %}
