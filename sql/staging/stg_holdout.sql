-- One row per held-out event of the judged model.
select
    {{ columns('holdout') }}
from {{ parquet('holdout') }}
