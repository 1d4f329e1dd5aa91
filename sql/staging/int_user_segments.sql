-- One row per user and segment: all, activity, tenure, status and every feature, as name=value.
with users as (
    select * from {{ ref('stg_users') }}
),

named as (
    select
        user_id,
        unnest([
            'all',
            'activity=' || case
                when interactions = 0 then '0'
                when interactions < 5 then '1-4'
                when interactions < 20 then '5-19'
                when interactions < 100 then '20-99'
                else '100+'
            end,
            'tenure=' || case
                when first_at is null then 'none'
                when first_at > {{ live.head.run_date | literal }}::date - interval 7 day then '0-6 days'
                when first_at > {{ live.head.run_date | literal }}::date - interval 30 day then '7-29 days'
                when first_at > {{ live.head.run_date | literal }}::date - interval 365 day then '30-364 days'
                else '365+ days'
            end
        ]) as segment
    from users
),

features as (
    select * exclude (interactions, first_at, last_at, recommended, shortfall_reason)
    from users
),

unpivoted as (
    unpivot features on (columns(* exclude (user_id))::varchar) into name feature value label
),

final as (
    select
        user_id,
        segment
    from named

    union all

    select
        user_id,
        feature || '=' || label as segment
    from unpivoted
)

select * from final
