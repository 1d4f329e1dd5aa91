-- One row where the share of cold users is well above that of the last runs.
-- severity: warn
-- expected: at most 10 % above the median share of the last 7 runs (audit.max_cold_rise)
-- needs: earlier
with shares as (
    select
        age,
        cold_users / users as share
    from nights
),

usual as (
    select median(share) as share from shares
    where age > 0
),

final as (
    select
        format('{:.1f} % of the users are cold', 100 * shares.share) as observed,
        format(
            'at most {:.1f} %: the usual {:.1f} and {:.1f} more (audit.max_cold_rise)',
            100 * (usual.share + max_cold_rise), 100 * usual.share, 100 * max_cold_rise
        ) as expected
    from shares
    cross join usual
    cross join audit_settings
    where shares.age = 0 and shares.share > usual.share + max_cold_rise
)

select * from final
