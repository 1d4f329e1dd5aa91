-- One row per live run.
select
    run_id::varchar as run_id,
    run_date::date as run_date,
    number::integer as number,
    is_latest::boolean as is_latest,
    counts::boolean as counts,
    status::varchar as status,
    degraded_reason::varchar as degraded_reason,
    started_at::timestamptz at time zone 'UTC' as started_at,
    finished_at::timestamptz at time zone 'UTC' as finished_at,
    model_id::varchar as model_id,
    trained_before::date as trained_before,
    engine::varchar as engine,
    k::integer as k,
    users::bigint as users,
    rows::json::map(varchar, bigint) as rows,
    parent::varchar as parent,
    source::varchar as source,
    contract::integer as contract
from (
    values
    {% for run in runs %}
    (
        {{ run.run_id | literal }},
        {{ run.head.run_date | literal }},
        {{ run.number }},
        {{ run is sameas live }},
        {{ run in counting }},
        {{ run.head.status | literal }},
        {{ run.head.degraded_reason | literal }},
        {{ run.head.started_at | literal }},
        {{ run.head.finished_at | literal }},
        {{ run.head.model_id | literal }},
        {{ run.head.trained_before | literal }},
        {{ run.head.engine | literal }},
        {{ run.head.k | literal }},
        {{ run.head.users | literal }},
        {{ run.head.rows | json | literal }},
        {{ run.head.parent | literal }},
        {{ run.head.source | literal }},
        {{ run.head.contract | literal }}
    ){{ ',' if not loop.last }}
    {% endfor %}
) as runs(
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
)
