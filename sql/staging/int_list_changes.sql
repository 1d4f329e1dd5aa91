-- One row per user of two of the `runs`: how the list changed; `before` and `after` are SQL for their ids.
-- rows: instead of runs, a table of user_id, rank, item_id, title and run_id
-- rbo: Webber, Moffat and Zobel 2010, A similarity measure for indefinite rankings, equation 32, p = 0.9
-- heads_above: summed in one order, for the same bits each time
with lists as (
    select
        user_id,
        rank,
        item_id,
        title,
        run_id = {{ after }} as is_after
    from {{ rows if rows is defined else ref('stg_recommendations_of_runs', runs=runs) }}
    where run_id in ({{ before }}, {{ after }})
),

places as (
    select
        user_id,
        item_id,
        max(title) as title,
        max(rank) filter (not is_after) as rank_before,
        max(rank) filter (is_after) as rank_after
    from lists
    group by user_id, item_id
),

lengths as (
    select
        user_id,
        count(rank_before) as length_before,
        count(rank_after) as length_after,
        least(length_before, length_after) as shorter,
        greatest(length_before, length_after) as longer
    from places
    group by user_id
),

depths as (
    select unnest(range(0, (select coalesce(max(rank), 0) + 1 from lists))) as depth
),

-- head: sum over d = 1 .. depth of 0.9^d / d
heads as (
    select
        depth,
        sum(case when depth = 0 then 0 else pow(0.9, depth) / depth end) over (order by depth) as head
    from depths
),

changes as (
    select
        places.user_id,
        any_value(lengths.length_before)::integer as rows_before,
        any_value(lengths.length_after)::integer as rows_after,
        any_value(lengths.shorter) as shorter,
        any_value(lengths.longer) as longer,
        count(heads.head)::integer as kept,
        coalesce(list_sum(list(heads.head order by heads.depth)), 0) as heads_above,
        count(heads.head) filter (heads.depth < lengths.shorter) as kept_in_shorter,
        coalesce(list(places.title order by places.rank_after) filter (places.rank_before is null), []) as entered,
        coalesce(list(places.title order by places.rank_before) filter (places.rank_after is null), []) as dropped
    from places
    inner join lengths on places.user_id = lengths.user_id
    left join heads
        on
            case
                when places.rank_before is not null and places.rank_after is not null
                    then greatest(places.rank_before, places.rank_after) - 1
            end = heads.depth
    group by places.user_id
),

final as (
    select
        changes.user_id,
        changes.rows_before,
        changes.rows_after,
        changes.kept,
        changes.kept / changes.longer as overlap,
        case
            when changes.kept = 0 then 0
            else
                (0.1 / 0.9) * (
                    changes.kept * at_longer.head
                    - changes.heads_above
                    + changes.kept_in_shorter / changes.shorter * (
                        (pow(0.9, changes.shorter + 1) - pow(0.9, changes.longer + 1)) / 0.1
                        - changes.shorter * (at_longer.head - at_shorter.head)
                    )
                )
                + pow(0.9, changes.longer) * (
                    (changes.kept - changes.kept_in_shorter) / changes.longer
                    + changes.kept_in_shorter / changes.shorter
                )
        end as rbo,
        changes.entered,
        changes.dropped,
        changes.kept = 0 and changes.rows_before > 0 and changes.rows_after > 0 as replaced
    from changes
    inner join heads as at_longer on changes.longer = at_longer.depth
    inner join heads as at_shorter on changes.shorter = at_shorter.depth
)

select * from final
