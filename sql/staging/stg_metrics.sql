-- One row per metric, k, segment, source and protocol.
select
    {{ columns('metrics') }}
from {{ parquet('metrics') }}
