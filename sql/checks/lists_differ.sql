-- One row where more than half of the users have one and the same list.
-- severity: warn
-- expected: share of users with the most frequent list <= 0.5, from two users on
with lists as (
    select
        user_id,
        count(*) as length,
        bit_xor(hash(rank, item_id)) as fingerprint
    from recommendations
    group by user_id
),

frequencies as (
    select count(*) as users from lists
    group by length, fingerprint
),

final as (
    select
        max(users) as users,
        sum(users)::bigint as users_with_a_list,
        max(users) / sum(users) as share
    from frequencies
    having max(users) > 0.5 * sum(users) and sum(users) > 1
)

select * from final
