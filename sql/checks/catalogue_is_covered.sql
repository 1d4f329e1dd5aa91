-- One row where less than 1 % of the titles is recommended to anybody.
-- severity: warn
-- expected: share of recommended titles >= 0.01
with recommended as (
    select count(distinct item_id) as titles from recommendations
),

catalogue as (
    select count(*) as titles from items
),

final as (
    select
        recommended.titles as recommended,
        catalogue.titles as candidates,
        recommended.titles / catalogue.titles as share
    from recommended
    cross join catalogue
    where recommended.titles < 0.01 * catalogue.titles
)

select * from final
