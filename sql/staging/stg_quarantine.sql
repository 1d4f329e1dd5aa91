-- One row per rejected or repaired input row.
select
    {{ columns('quarantine') }}
from {{ parquet('quarantine') }}
