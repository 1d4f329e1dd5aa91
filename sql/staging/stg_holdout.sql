-- One row per held-out event of the judged model; `source` is null in runs that did not record it yet.
select
    {{ columns('holdout') }}
from (
    select * from {{ parquet('holdout') }}
    union all by name
    select null::varchar as source
    where false
) as holdout
{% if withdrawn(live) %}
where item_id not in ({{ withdrawn(live) | literals }})
{% endif %}
