-- One row per item and rank: its nearest neighbours.
select
    {{ columns('similar_items') }}
from {{ parquet('similar_items') }}
