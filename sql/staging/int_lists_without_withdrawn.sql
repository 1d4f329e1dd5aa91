-- One row per user and rank of list and buffer without withdrawn titles: ranks closed up, reasons left out with them.
with lists as (
    select
        {{ columns('recommendations') }}
    from {{ parquet('recommendations', run, of_user) }}

    union all

    select
        {{ columns('recommendations_buffer') }}
    from {{ parquet('recommendations_buffer', run, of_user) }}
),

final as (
    select
        user_id,
        row_number() over (partition by user_id order by rank)::smallint as rank,
        item_id,
        title,
        score,
        source,
        case when because_item_id not in ({{ withdrawn(run) | literals }}) then because_item_id end as because_item_id
    from lists
    where item_id not in ({{ withdrawn(run) | literals }})
)

select * from final
