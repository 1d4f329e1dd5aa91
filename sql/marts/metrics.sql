-- One row per metric, k, segment, source and protocol.
with metrics as (
    select * from {{ ref('stg_metrics') }}
),

final as (
    select
        metric,
        k,
        segment,
        source,
        protocol,
        value,
        ci_low,
        ci_high,
        users
    from metrics
)

select * from final
