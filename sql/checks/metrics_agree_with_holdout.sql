-- One row per cut-off whose recall over all users is not what the ranks in holdout give.
-- severity: error
-- expected: recall of the judged model, recomputed from holdout, equals metrics
with reported as (
    select
        k,
        value,
        users
    from metrics
    where metric = 'recall' and segment = 'all' and source = 'model'
),

judged as (
    select
        reported.k,
        holdout.user_id,
        count(*) filter (where holdout.rank <= reported.k) / least(reported.k, count(*)) as recall
    from reported
    cross join holdout
    group by reported.k, holdout.user_id
),

recomputed as (
    select
        k,
        avg(recall) as value,
        count(*) as users
    from judged
    group by k
),

final as (
    select
        reported.k,
        reported.value as reported,
        recomputed.value as recomputed
    from reported
    left join recomputed on reported.k = recomputed.k
    where
        recomputed.users is distinct from reported.users
        or not coalesce(abs(reported.value - recomputed.value) < 1e-9, false)
)

select * from final
