-- One row per user known by the run date: the id alone; `of_user`: from the one file that may hold this user.
select user_id::varchar as user_id
from {{ parquet('users', live, of_user | default(none)) }}
