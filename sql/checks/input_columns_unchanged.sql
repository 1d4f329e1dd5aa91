-- One row where the input has other columns, or other types of columns, than the parent run's: as a diff.
-- severity: warn
-- expected: the columns and types of the parent run's input
-- needs: columns
with tonight as (
    select table_name, column_name, type from input_columns
    where age = 0
),

parent as (
    select table_name, column_name, type from input_columns
    where age = 1
),

differences as (
    select
        coalesce(tonight.table_name, parent.table_name) as table_name,
        coalesce(tonight.column_name, parent.column_name) as column_name,
        parent.type as type_before,
        tonight.type as type
    from tonight
    full join parent on tonight.table_name = parent.table_name and tonight.column_name = parent.column_name
    where tonight.type is distinct from parent.type
),

final as (
    select
        string_agg(
            case
                when type_before is null then format('+ {}.{} {}', table_name, column_name, type)
                when type is null then format('- {}.{} {}', table_name, column_name, type_before)
                else format('~ {}.{} {} -> {}', table_name, column_name, type_before, type)
            end, '; ' order by table_name, column_name
        ) as observed,
        'the columns and types of the parent run''s input' as expected
    from differences
    having count(*) > 0
)

select * from final
