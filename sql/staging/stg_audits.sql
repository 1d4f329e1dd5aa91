-- One row per check on the live run.
select
    {{ columns('audits') }}
from {{ parquet('audits') }}
