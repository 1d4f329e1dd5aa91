-- One row per user known by the run date.
select
    {{ columns('users') }}
from {{ parquet('users') }}
