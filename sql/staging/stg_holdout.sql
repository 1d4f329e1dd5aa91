-- One row per held-out event of the judged model.
select
    {{ columns('holdout') }}
from {{ parquet('holdout') }}
{% if withdrawn(live) %}
where item_id not in ({{ withdrawn(live) | literals }})
{% endif %}
