-- One row per held-out event of the judged model.
with holdout as (
    select * from {{ ref('stg_holdout') }}
),

final as (
    select
        user_id,
        item_id,
        occurred_at,
        rank,
        source
    from holdout
)

select * from final
