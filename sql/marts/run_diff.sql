-- One row per user of the latest run or the one before: how the list changed; empty after a first run.
-- user_id: who
-- run_before: the run before
-- run_after: the latest run
-- rows_before: length of the list before
-- rows_after: its length now
-- kept: titles in both
-- overlap: overlap@k: kept, divided by the length of the longer list; 1 where nothing entered or left
-- rbo: rank-biased overlap: how alike, the first ten ranks weighing 86 % (p = 0.9); 1 is the same list
-- entered: titles that are new in the list, by their rank now
-- dropped: titles that left the list, by their rank before
-- replaced: whether a list with titles before and now has none in common
{% set pair = counting[-2:] %}
{% set before = pair[0].run_id %}
{% set after = live.run_id %}
with changes as (
    select * from {{ ref('int_list_changes', runs=pair, before=before | literal, after=after | literal) }}
),

final as (
    select
        user_id,
        {{ before | literal }}::varchar as run_before,
        {{ after | literal }}::varchar as run_after,
        rows_before,
        rows_after,
        kept,
        overlap,
        rbo,
        entered,
        dropped,
        replaced
    from changes
    where run_before <> run_after
)

select * from final
