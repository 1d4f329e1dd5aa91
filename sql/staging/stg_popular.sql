-- One row per segment and rank: what an unknown user gets.
{% if withdrawn(live) %}
select
    segment,
    row_number() over (partition by segment order by rank)::smallint as rank,
    item_id,
    title,
    score
from (select {{ columns('popular') }} from {{ parquet('popular') }}) as popular
where item_id not in ({{ withdrawn(live) | literals }})
order by segment, rank
{% else %}
select
    {{ columns('popular') }}
from {{ parquet('popular') }}
{% endif %}
