-- One row per live run.
{% for run in runs %}
{% set head = run.head %}
select
    {{ run.run_id | literal }}::varchar as run_id,
    {{ head.run_date | literal }}::date as run_date,
    {{ run.number }}::integer as number,
    {{ run is sameas live }} as is_latest,
    {{ run in counting }} as counts,
    {{ head.status | literal }}::varchar as status,
    {{ head.degraded_reason | literal }}::varchar as degraded_reason,
    {{ head.started_at | literal }}::timestamptz at time zone 'UTC' as started_at,
    {{ head.finished_at | literal }}::timestamptz at time zone 'UTC' as finished_at,
    {{ head.model_id | literal }}::varchar as model_id,
    {{ head.trained_before | literal }}::date as trained_before,
    {{ head.engine | literal }}::varchar as engine,
    {{ head.k | literal }}::integer as k,
    {{ head.users | literal }}::bigint as users,
    map([{{ head.rows | map('literal') | join(', ') }}]::varchar[], [{{ head.rows.values() | map('literal') | join(', ') }}]::bigint[]) as rows,
    {{ head.parent | literal }}::varchar as parent,
    {{ head.source | literal }}::varchar as source,
    {{ head.contract | literal }}::integer as contract
{{ 'union all' if not loop.last }}
{% endfor %}
