-- One row where more than half of the users are cold.
-- severity: warn
-- expected: share of cold users <= 0.5
with users as (
    select
        count(*) as known,
        count(*) filter (status = 'cold') as cold
    from users
),

final as (
    select
        cold,
        known,
        cold / known as share
    from users
    where cold > 0.5 * known
)

select * from final
