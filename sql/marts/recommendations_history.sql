-- One row per run date, user and rank: the list of every kept night; filter on run_date to read those files only.
-- run_date: the night
-- run_id: the run that stands for it: the largest number of the date
with recommendations as (
    select * from {{ ref('stg_recommendations_of_runs', runs=counting) }}
),

final as (
    select
        run_date,
        run_id,
        user_id,
        rank,
        item_id,
        title,
        score,
        source,
        because_item_id
    from recommendations
)

select * from final
