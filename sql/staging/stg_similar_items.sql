-- One row per item and rank: its nearest neighbours.
{% if withdrawn(live) %}
select
    item_id,
    row_number() over (partition by item_id order by rank)::smallint as rank,
    similar_item_id,
    similar_title,
    score
from (select {{ columns('similar_items') }} from {{ parquet('similar_items') }}) as similar_items
where
    item_id not in ({{ withdrawn(live) | literals }})
    and similar_item_id not in ({{ withdrawn(live) | literals }})
{% else %}
select
    {{ columns('similar_items') }}
from {{ parquet('similar_items') }}
{% endif %}
