-- One row per user and item that stands twice in the buffer, or in the buffer and in the list.
-- severity: error
-- expected: the buffer repeats nothing
with buffer as (
    select
        user_id,
        item_id,
        count(*) as times
    from recommendations_buffer
    group by user_id, item_id
),

final as (
    select
        buffer.user_id,
        buffer.item_id,
        buffer.times
    from buffer
    where buffer.times > 1

    union all

    select
        buffer.user_id,
        buffer.item_id,
        buffer.times + 1 as times
    from buffer
    semi join recommendations
        on buffer.user_id = recommendations.user_id and buffer.item_id = recommendations.item_id
)

select * from final
