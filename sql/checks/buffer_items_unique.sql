-- One row per user and item that stands twice in the buffer, or in the buffer and in the list.
-- severity: error
-- expected: the buffer repeats nothing
-- suspects: by hashes, list by list; joining all pairs takes five times the memory
with rows_of_both as (
    select user_id, item_id from recommendations
    union all
    select user_id, item_id from recommendations_buffer
),

suspects as (
    select user_id from rows_of_both
    group by user_id
    having len(list_distinct(list(hash(item_id)))) < count(*)
),

recommendations as (
    select recommendations.user_id, recommendations.item_id
    from recommendations
    semi join suspects on recommendations.user_id is not distinct from suspects.user_id
),

buffer as (
    select
        recommendations_buffer.user_id,
        recommendations_buffer.item_id,
        count(*) as times
    from recommendations_buffer
    semi join suspects on recommendations_buffer.user_id is not distinct from suspects.user_id
    group by recommendations_buffer.user_id, recommendations_buffer.item_id
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
