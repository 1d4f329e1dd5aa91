-- One row per candidate.
select
    {{ columns('items') }}
from {{ parquet('items') }}
