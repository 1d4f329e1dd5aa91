-- One row per user and rank: the list of the live run, best first.
select
    {{ columns('recommendations') }}
from {{ parquet('recommendations') }}
