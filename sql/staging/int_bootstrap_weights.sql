-- One row per bucket of users and resample: how often the bucket is drawn, Poisson(1) from an md5, so always the same.
-- source: Chamandy et al. 2012, Estimating uncertainty for massive data streams, section 3
-- buckets: SQL for a table with the column bucket, whole numbers below 1,000
with buckets as (
    select bucket from {{ buckets }}
),

samples as (
    select unnest(range(400)) as sample
),

uniform as (
    select
        bucket,
        sample,
        md5_number_lower(bucket || '/' || sample)::double / 18446744073709551616.0 as u
    from buckets
    cross join samples
),

final as (
    select
        bucket,
        sample,
        (u > 0.36787944117144233)::integer
        + (u > 0.7357588823428847)::integer
        + (u > 0.9196986029286058)::integer
        + (u > 0.9810118431238462)::integer
        + (u > 0.9963401531726563)::integer
        + (u > 0.9994058151824183)::integer
        + (u > 0.9999167588507119)::integer as weight
    from uniform
)

select * from final
