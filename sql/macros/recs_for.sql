-- One row per rank for one user: the list, or the head of `popular` where the user is unknown.
-- parameters: user
with recommendations as (
    select * from {{ ref('stg_recommendations', of_user='"user"::varchar') }}
    where user_id = "user"::varchar
),

known as (
    select user_id from {{ ref('stg_user_ids', of_user='"user"::varchar') }}
    where user_id = "user"::varchar
),

popular as (
    select * from {{ ref('stg_popular') }}
    where segment = 'all' and rank <= {{ live.head.k | literal }}
),

final as (
    select
        user_id,
        rank,
        item_id,
        title,
        score,
        source,
        because_item_id
    from recommendations

    union all

    select
        "user"::varchar as user_id,
        rank,
        item_id,
        title,
        score,
        'popular' as source,
        null as because_item_id
    from popular
    where not exists (from known)
    order by rank
)

select * from final
