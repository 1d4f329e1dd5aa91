"""What the report says of the tables: aggregated by DuckDB, so that a hundred million rows come back as a few dozen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from recbatch.contracts import Json

Rows = list[Json]

SAMPLE_RANKS = 10
"""Ranks shown of a sample list."""
_QUARANTINE_ROWS = 3
"""First rows shown of each reason."""
_LORENZ_POINTS = 200
"""A curve of a million titles needs no more to look smooth."""

# The only two scans of `recommendations` are this one and the sample's, which the row groups' ranges of user_id prune.
_REPORT_ROWS = """
create or replace temp table report_rows as
select item_id, source, count(*) as amount from recommendations group by item_id, source
"""
_REPORT_ITEMS = """
create or replace temp table report_items as
select i.interactions, i.in_vocabulary, coalesce(r.amount, 0)::bigint as recommended
from items as i
left join (select item_id, sum(amount) as amount from report_rows group by item_id) as r using (item_id)
"""
_SOURCES = """
select source, sum(amount)::bigint as amount, sum(amount) / sum(sum(amount)) over () as share, count(*) as titles
from report_rows
group by source
order by amount desc, source
"""
_CATALOGUE = """
select
    count(*) as titles,
    count(*) filter (recommended > 0) as recommended,
    count(*) filter (recommended > 0) / nullif(count(*), 0) as coverage,
    count(*) filter (in_vocabulary) as in_vocabulary,
    sum(interactions)::bigint as interactions,
    sum(recommended)::bigint as amount
from report_items
"""
_STATUSES = """
select
    status,
    count(*) as users,
    count(*) / sum(count(*)) over () as share,
    median(interactions) as interactions,
    avg(recommended) as recommended,
    count(*) filter (shortfall_reason is not null) as short
from users
group by status
order by case status when 'hot' then 1 when 'warm' then 2 when 'cold' then 3 else 4 end, status
"""
_SHORTFALLS = """
select shortfall_reason as reason, count(*) as users, min(recommended) as fewest, avg(recommended) as mean
from users
where shortfall_reason is not null
group by reason
order by users desc, reason
limit 20
"""
_AMOUNTS = """
with amounts as (
    select 'interactions' as measure, interactions as amount from report_items
    union all
    select 'recommended' as measure, recommended as amount from report_items
),

ranked as (
    select
        measure,
        amount,
        row_number() over by_amount as place,
        sum(amount) over (by_amount rows unbounded preceding) as running,
        count(*) over (partition by measure) as titles,
        sum(amount) over (partition by measure) as total
    from amounts
    window by_amount as (partition by measure order by amount)
)
"""
# Gini coefficient of sorted amounts: sum of (2 place - n - 1) amount, divided by n times the total.
_GINI = f"""
{_AMOUNTS}
select
    measure,
    sum((2 * place - titles - 1) * amount) / nullif(any_value(titles) * any_value(total), 0) as gini,
    sum(amount) filter (place > titles - ceil(titles * 0.01)) / nullif(any_value(total), 0) as top_1_percent,
    sum(amount) filter (place > titles - ceil(titles * 0.1)) / nullif(any_value(total), 0) as top_10_percent,
    count(*) filter (amount > 0) / count(*) as touched
from ranked
group by measure
order by measure
"""
_LORENZ = f"""
{_AMOUNTS}
select measure, place / titles as titles_share, running / total as amount_share
from ranked
where total > 0 and (place % greatest(1, titles // {_LORENZ_POINTS}) = 0 or place = titles)
order by measure, place
"""
_BINS = """
select
    case when interactions > 0 then floor(log2(interactions))::integer else -1 end as bin,
    count(*) / sum(count(*)) over () as titles,
    coalesce(sum(interactions) / nullif(sum(sum(interactions)) over (), 0), 0) as interactions,
    coalesce(sum(recommended) / nullif(sum(sum(recommended)) over (), 0), 0) as recommended
from report_items
group by bin
order by bin
"""
_METRICS = "select * from metrics order by protocol, metric, k, segment, source"
_AUDITS = "select * from audits order by passed, severity = 'error' desc, \"check\""
_QUARANTINE = "select reason, count(*) as amount from quarantine group by reason order by amount desc, reason"
_QUARANTINE_FIRST = f"""
select reason, file, row, left(content, 400) as content
from quarantine
qualify row_number() over (partition by reason order by file, row) <= {_QUARANTINE_ROWS}
order by reason, file, row
limit 100
"""
# One user of each status first; md5 rather than the first ids, which tend to be the oldest accounts.
_SAMPLE_USERS = """
select user_id, status, interactions, last_at, recommended
from (select *, row_number() over (partition by status order by md5(user_id), user_id) as place from users
      where recommended > 0)
order by place, case status when 'hot' then 1 when 'warm' then 2 else 3 end, user_id
limit 3
"""
_SAMPLE_ROWS = f"""
select r.user_id, r.rank, r.title, r.score, r.source, b.title as because
from (select * from recommendations where user_id in (?, ?, ?) and rank <= {SAMPLE_RANKS}) as r
left join (select item_id, any_value(title) as title from items group by item_id) as b
    on b.item_id = r.because_item_id
order by r.user_id, r.rank
"""
_POPULAR = f"""
select rank, title, score from popular where segment = 'all' and rank <= {SAMPLE_RANKS} order by rank
"""


# Segments of a handful of users say nothing; a feature with hundreds of values would fill the page.
_SEGMENTS = """
with largest as (
    select segment, split_part(segment, '=', 1) as kind, value, ci_low, ci_high, users
    from segment_metrics({k})
    where metric = ? and users >= 5
    order by users desc, segment
    limit 40
)

select segment, value, ci_low, ci_high, users
from largest
order by kind <> 'all', max(users) over (partition by kind) desc, kind, users desc, segment
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the report takes from the run's tables; each list is the answer to the query of its name."""

    sources: Rows
    catalogue: Json
    statuses: Rows
    shortfalls: Rows
    balance: dict[str, Json]
    """Measure (`interactions`, `recommended`) → gini, shares of the top titles."""
    lorenz: Rows
    bins: Rows
    """Titles with 2^bin to 2^(bin + 1) - 1 interactions; -1: none."""
    metrics: Rows
    audits: Rows
    quarantine: Rows
    """Reason and amount, with the first `rows` of each."""
    samples: Rows
    """Users, with the first `rows` of their lists."""
    popular: Rows
    segments: Rows
    """The judged model by activity, tenure, status, feature, genre and source: the largest segments."""


def gather(con: duckdb.DuckDBPyConnection, metric: str, k: int) -> Facts:
    """Asks the run's views everything.

    Args:
        con: holds the views; two temporary tables come and go in it.
        metric: of the gate, for the segments.
        k: its cut-off.

    Raises:
        duckdb.Error: a view or a file behind it is missing.
    """
    with _temporary_tables(con):
        return Facts(
            sources=_rows(con, _SOURCES),
            catalogue=_rows(con, _CATALOGUE)[0],
            statuses=_rows(con, _STATUSES),
            shortfalls=_rows(con, _SHORTFALLS),
            balance={row["measure"]: row for row in _rows(con, _GINI)},
            lorenz=_rows(con, _LORENZ),
            bins=_rows(con, _BINS),
            metrics=_rows(con, _METRICS),
            audits=_rows(con, _AUDITS),
            quarantine=_with_rows(_rows(con, _QUARANTINE), _rows(con, _QUARANTINE_FIRST), "reason"),
            samples=_samples(con),
            popular=_rows(con, _POPULAR),
            segments=_rows(con, _SEGMENTS.format(k=int(k)), (metric,)),
        )


@contextlib.contextmanager
def _temporary_tables(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    con.execute(_REPORT_ROWS)
    con.execute(_REPORT_ITEMS)
    try:
        yield
    finally:
        con.execute("drop table if exists report_items")
        con.execute("drop table if exists report_rows")


def _samples(con: duckdb.DuckDBPyConnection) -> Rows:
    users = _rows(con, _SAMPLE_USERS)
    ids = [user["user_id"] for user in users]
    return _with_rows(users, _rows(con, _SAMPLE_ROWS, (ids + [None] * 3)[:3]), "user_id")


def _with_rows(groups: Rows, rows: Rows, key: str) -> Rows:
    return [group | {"rows": [row for row in rows if row[key] == group[key]]} for group in groups]


def _rows(con: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> Rows:
    answer = con.execute(sql, parameters)
    names = [column[0] for column in answer.description or ()]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
