-- One row per user and item that stands twice in the user's list, its buffer included.
-- severity: error
-- expected: an item once per user
-- suspects: by sorted digests, list by list; counting all pairs takes five times the memory
with recommendations as (
    select * from recommendations
    union all
    select * from recommendations_buffer
),

lists as (
    select hash(user_id) as user_digest, list_sort(list(cast(hash(item_id) % 4294967296 as uinteger))) as digests
    from recommendations
    group by user_id
),

neighbours as (
    select
        user_digest,
        unnest(digests) as mine,
        unnest(list_prepend(null, digests)) as previous
    from lists
),

suspects as (
    select distinct user_digest from neighbours
    where mine = previous
),

final as (
    select
        recommendations.user_id,
        recommendations.item_id,
        count(*) as times
    from recommendations
    semi join suspects on hash(recommendations.user_id) = suspects.user_digest
    group by recommendations.user_id, recommendations.item_id
    having count(*) > 1
)

select * from final
