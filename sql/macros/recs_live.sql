-- One row per user and rank: tonight's lists without what users did since, filled up from the buffer.
-- parameters: events_table
-- events_table: name of a table or view of your own with user_id and item_id
with events as (
    select
        user_id::varchar as user_id,
        item_id::varchar as item_id
    from query_table(events_table)
),

lists as (
    select * from {{ ref('stg_recommendations') }}
    union all
    select * from {{ ref('stg_recommendations_buffer') }}
),

unseen as (
    select lists.*
    from lists
    anti join events on lists.user_id = events.user_id and lists.item_id = events.item_id
),

ranked as (
    select
        *,
        row_number() over (partition by user_id order by rank) as live_rank
    from unseen
),

final as (
    select
        user_id,
        live_rank::smallint as rank,
        item_id,
        title,
        score,
        source,
        because_item_id
    from ranked
    where live_rank <= {{ live.head.k | literal }}
)

select * from final
