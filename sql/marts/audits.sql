-- One row per check on the live run.
with audits as (
    select * from {{ ref('stg_audits') }}
),

final as (
    select
        "check",
        severity,
        passed,
        observed,
        expected,
        detail
    from audits
)

select * from final
