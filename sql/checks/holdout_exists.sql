-- One row where no event was held out: nobody has judged the model.
-- severity: warn
-- expected: at least one held-out event
with holdout as (
    select count(*) as events from holdout
),

final as (
    select events from holdout
    where events = 0
)

select * from final
