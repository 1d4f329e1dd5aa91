-- One row per user asked for and rank: as recs_for, of many users at once, each of them once.
-- parameters: users_table
-- users_table: name of a table, view or CTE of your own with user_id
with asked as (
    select distinct user_id::varchar as user_id
    from query_table(users_table)
    where user_id is not null
),

recommendations as (
    select * from {{ ref('stg_recommendations') }}
),

known as (
    select user_id from {{ ref('stg_user_ids') }}
),

popular as (
    select * from {{ ref('stg_popular') }}
    where segment = 'all' and rank <= {{ live.head.k | literal }}
),

unknown as (
    select asked.user_id
    from asked
    anti join known on asked.user_id = known.user_id
),

final as (
    select
        recommendations.user_id,
        recommendations.rank,
        recommendations.item_id,
        recommendations.title,
        recommendations.score,
        recommendations.source,
        recommendations.because_item_id
    from recommendations
    semi join asked on recommendations.user_id = asked.user_id

    union all

    select
        unknown.user_id,
        popular.rank,
        popular.item_id,
        popular.title,
        popular.score,
        'popular' as source,
        null as because_item_id
    from unknown
    cross join popular
    order by user_id, rank
)

select * from final
