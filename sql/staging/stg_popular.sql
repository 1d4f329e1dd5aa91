-- One row per segment and rank: what an unknown user gets.
select
    {{ columns('popular') }}
from {{ parquet('popular') }}
