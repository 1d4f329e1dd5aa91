-- One row per run, user and rank of the `runs` given; a filter on run_id or run_date skips the other files.
{% for run in runs %}
select
    {{ run.head.run_date | literal }}::date as run_date,
    {{ run.run_id | literal }}::varchar as run_id,
    lists.*
from {{ ref('stg_recommendations', run=run) }} as lists
{{ 'union all' if not loop.last }}
{% endfor %}
