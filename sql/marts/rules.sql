-- One row per rule of the live run, with its price: the lists without this one rule against those with all of them.
with rules as (
    select * from {{ ref('stg_rules') }}
),

final as (
    select
        rule,
        setting,
        users,
        rows_removed,
        users_shortened,
        metric,
        k,
        judged_users,
        effect,
        ci_low,
        ci_high
    from rules
)

select * from final
