-- One row where the lists have little in common with those of the parent run.
-- severity: warn
-- expected: mean overlap@k with the parent run's lists of at least 0.3 (audit.least_overlap)
-- needs: lists
with final as (
    select
        format('overlap@k {:.3f} over {:,d} users', overlap, compared) as observed,
        format('at least {:.3f} (audit.least_overlap)', least_overlap) as expected
    from list_changes
    cross join audit_settings
    where overlap < least_overlap
)

select * from final
