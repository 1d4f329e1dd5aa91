-- One row per user of two of the `runs`: how the list changed; `before` and `after` are SQL for their ids.
with lists as (
    select
        user_id,
        rank,
        item_id,
        title,
        run_id = {{ after }} as is_after
    from {{ ref('stg_recommendations_of_runs', runs=runs) }}
    where run_id in ({{ before }}, {{ after }})
),

places as (
    select
        user_id,
        item_id,
        max(title) as title,
        max(rank) filter (not is_after) as rank_before,
        max(rank) filter (is_after) as rank_after
    from lists
    group by user_id, item_id
),

final as (
    select
        user_id,
        count(rank_before)::integer as rows_before,
        count(rank_after)::integer as rows_after,
        count(*) filter (rank_before is not null and rank_after is not null)::integer as kept,
        kept / greatest(rows_before, rows_after) as overlap,
        coalesce(list(title order by rank_after) filter (rank_before is null), []) as entered,
        coalesce(list(title order by rank_before) filter (rank_after is null), []) as dropped,
        kept = 0 and rows_before > 0 and rows_after > 0 as replaced
    from places
    group by user_id
)

select * from final
