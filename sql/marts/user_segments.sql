-- One row per known user and segment: all, activity, tenure, status and every feature.
-- user_id: who
-- segment: name=value, such as activity=20-99, or all
with segments as (
    select * from {{ ref('int_user_segments') }}
),

final as (
    select
        user_id,
        segment
    from segments
)

select * from final
