-- One row per segment and user: the user's list metrics in each of their segments.
with lists as (
    select * from {{ ref('int_list_metrics') }}
),

segments as (
    select * from {{ ref('int_user_segments') }}
),

final as (
    select
        segments.segment,
        lists.*
    from lists
    inner join segments on lists.user_id = segments.user_id
)

select * from final
