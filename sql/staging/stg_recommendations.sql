-- One row per user and rank: the list of a run, the live one if none is named, best first.
{% set run = run | default(live) %}
{% if withdrawn(run) %}
select lists.*
from {{ ref('int_lists_without_withdrawn', run=run, of_user=of_user | default(none)) }} as lists
where lists.rank <= {{ run.head.k | literal }}
{% else %}
select
    {{ columns('recommendations') }}
from {{ parquet('recommendations', run, of_user | default(none)) }}
{% endif %}
