-- One row per user and rank behind the list, ranks k+1 to k+b: what the live view draws on.
{% set run = run | default(live) %}
{% if withdrawn(run) %}
select lists.*
from {{ ref('int_lists_without_withdrawn', run=run, of_user=of_user | default(none)) }} as lists
where lists.rank > {{ run.head.k | literal }}
{% else %}
select
    {{ columns('recommendations_buffer') }}
from {{ parquet('recommendations_buffer', run, of_user | default(none)) }}
{% endif %}
