-- One row per live run: what was published, when and from what.
-- run_id: run_date and number
-- run_date: events before this day, 00:00 UTC, went in
-- number: 1, or higher where the date was run again
-- is_latest: whether the current views show this run
-- counts: whether the run stands for its date in the history: the largest number of the date does
-- status: published, or degraded where someone allowed popularity only
-- degraded_reason: who allowed it and why; null where published
-- started_at: when the run began, UTC
-- finished_at: when its files were complete, UTC
-- model_id: the model that scored; null where there was none
-- trained_before: the model saw events before this day
-- engine: how candidates were searched: exact, brute, ah or tree
-- k: rows per user
-- users: users known by the run date
-- rows: table -> rows
-- parent: the live run it was compared with; null for the first
-- source: where the input came from
-- contract: version of the tables' layout
with runs as (
    select * from {{ ref('stg_runs') }}
),

final as (
    select
        run_id,
        run_date,
        number,
        is_latest,
        counts,
        status,
        degraded_reason,
        started_at,
        finished_at,
        model_id,
        trained_before,
        engine,
        k,
        users,
        rows,
        parent,
        source,
        contract
    from runs
)

select * from final
