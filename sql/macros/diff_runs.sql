-- One row per user of run `a` or run `b`: how the list changed from a to b; columns as in run_diff.
-- parameters: a, b
with changes as (
    select * from {{ ref('int_list_changes', runs=runs, before='a', after='b') }}
),

final as (
    select
        user_id,
        rows_before,
        rows_after,
        kept,
        overlap,
        rbo,
        entered,
        dropped,
        replaced
    from changes
)

select * from final
