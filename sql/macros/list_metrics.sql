-- One row per user with a list: novelty, diversity and calibration of genres, and popularity of its first k titles.
-- parameters: k
with lists as (
    select * from {{ ref('int_list_metrics') }}
),

final as (
    select
        user_id,
        titles,
        novelty,
        diversity,
        calibration,
        popularity,
        popularity_lift
    from lists
)

select * from final
