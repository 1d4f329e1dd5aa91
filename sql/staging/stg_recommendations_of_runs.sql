-- One row per live run, user and rank; a filter on run_id, run_date or counts leaves the other runs' files unread.
{% for run in runs %}
select
    {{ run.head.run_date | literal }}::date as run_date,
    {{ run.run_id | literal }}::varchar as run_id,
    {{ run in counting }} as counts,
    {{ columns('recommendations') }}
from {{ parquet('recommendations', run) }}
{{ 'union all' if not loop.last }}
{% endfor %}
