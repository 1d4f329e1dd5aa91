-- One row per user and rank: the latest titles of each user's history.
{% if withdrawn(live) %}
select
    user_id,
    row_number() over (partition by user_id order by rank)::smallint as rank,
    item_id,
    occurred_at
from (select {{ columns('histories') }} from {{ parquet('histories') }}) as histories
where item_id not in ({{ withdrawn(live) | literals }})
{% else %}
select
    {{ columns('histories') }}
from {{ parquet('histories') }}
{% endif %}
