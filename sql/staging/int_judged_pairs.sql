-- One row per segment, user and held-out item: its rank in the judged list, null where it was not in it.
-- by genre: the items of that genre alone are held out; by source: rows of that source alone are hits
with holdout as (
    select * from {{ ref('stg_holdout') }}
),

items as (
    select
        item_id,
        unnest(list_distinct(genres)) as genre
    from {{ ref('stg_items') }}
),

segments as (
    select * from {{ ref('int_user_segments') }}
),

sources as (
    select distinct source from holdout
    where source is not null
),

final as (
    select
        segments.segment,
        holdout.user_id,
        holdout.rank
    from holdout
    inner join segments on holdout.user_id = segments.user_id

    union all

    select
        'genre=' || items.genre as segment,
        holdout.user_id,
        holdout.rank
    from holdout
    inner join items on holdout.item_id = items.item_id

    union all

    select
        'source=' || sources.source as segment,
        holdout.user_id,
        case when holdout.source = sources.source then holdout.rank end as rank
    from holdout
    cross join sources
)

select * from final
