-- One row per user and rank behind the list, ranks k+1 to k+b: what the live view draws on.
select
    {{ columns('recommendations_buffer') }}
from {{ parquet('recommendations_buffer') }}
