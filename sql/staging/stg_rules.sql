-- One row per rule that was in force.
select
    {{ columns('rules') }}
from {{ parquet('rules') }}
