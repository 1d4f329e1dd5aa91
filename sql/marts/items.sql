-- One row per candidate.
with items as (
    select * from {{ ref('stg_items') }}
),

final as (
    select
        item_id,
        title,
        genres,
        interactions,
        first_at,
        last_at,
        in_vocabulary,
        * exclude (item_id, title, genres, interactions, first_at, last_at, in_vocabulary)
    from items
)

select * from final
