-- One row per run, horizon, metric, k, segment and source.
{% for run in outcomes %}
select
    {{ columns('realised_metrics') }}
from {{ parquet('realised_metrics', run) }}
{{ 'union all' if not loop.last }}
{% else %}
select
    {{ columns('realised_metrics') }}
from {{ parquet('realised_metrics') }}
{% endfor %}
