-- One row per candidate.
select
    {{ columns('items') }}
from {{ parquet('items') }}
{% if withdrawn(live) %}
where item_id not in ({{ withdrawn(live) | literals }})
{% endif %}
