-- One row per run, horizon, metric, k, segment and source: how good published lists were by what happened next.
with realised_metrics as (
    select * from {{ ref('stg_realised_metrics') }}
),

final as (
    select
        run_id,
        run_date,
        horizon_days,
        metric,
        k,
        segment,
        source,
        value,
        ci_low,
        ci_high,
        users,
        users_without_list
    from realised_metrics
)

select * from final
