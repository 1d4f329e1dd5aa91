-- One row per user and item that stands twice in the user's list, its buffer included.
-- severity: error
-- expected: an item once per user
-- suspects: by hashes, list by list; counting all pairs takes five times the memory
with recommendations as (
    select * from recommendations
    union all
    select * from recommendations_buffer
),

suspects as (
    select user_id from recommendations
    group by user_id
    having list_unique(list(hash(item_id))) < count(*)
),

final as (
    select
        recommendations.user_id,
        recommendations.item_id,
        count(*) as times
    from recommendations
    semi join suspects on recommendations.user_id is not distinct from suspects.user_id
    group by recommendations.user_id, recommendations.item_id
    having count(*) > 1
)

select * from final
