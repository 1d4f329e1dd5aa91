-- One row per rejected or repaired input row.
with quarantine as (
    select * from {{ ref('stg_quarantine') }}
),

final as (
    select
        file,
        row,
        reason,
        content
    from quarantine
)

select * from final
