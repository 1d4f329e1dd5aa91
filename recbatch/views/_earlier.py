"""What a check may know besides the run that it looks at: the runs before it, and the settings of `[audit]`.

    audit_settings   one row: every number of `[audit]`
    nights           one row per run: tonight (age 0), the parent (1) and runs of earlier dates, newest first
    input_days       one row per run and day: events on it, the days of five weeks before the run date
    input_columns    one row per run (0 and 1), table and column of the input: its type
    parent_users     user_id of the parent run
    parent_items     item_id of the parent run
    parent_listed    item_id of every title in a list of the parent run
    list_changes     one row: how tonight's lists differ from the parent's, among some users

All but `nights` (tonight only) and `audit_settings` are empty where there is no earlier run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb

from recbatch.contracts import Json
from recbatch.views._quoting import quote_name

if TYPE_CHECKING:
    import pyarrow as pa

    from recbatch.config import Audit

TABLES = ("interactions", "items", "users")


@dataclass(frozen=True, slots=True)
class Earlier:
    """The runs before a run, as far as its checks compare it with them."""

    nights: Sequence[Json] = ()
    """Heads of their manifests, the parent first; none of a later date."""
    users: Sequence[str] | pa.Array = ()
    """Ids of the parent's users."""
    items: Sequence[str] | pa.Array = ()
    """Ids of the parent's titles."""
    listed: Sequence[str] | pa.Array = ()
    """Ids of the titles in its lists."""
    changes: Json = field(default_factory=dict)
    """users, compared, overlap, replaced: tonight's lists against the parent's."""


NONE = Earlier()
"""A first run."""


def compare(con: duckdb.DuckDBPyConnection, head: Json, earlier: Earlier = NONE, settings: Audit | None = None) -> None:
    """Lays the views named above beside a run's own, in place of those that are there.

    Args:
        con: from `over`.
        head: of the run's manifest; `input` and `profile` are read where it has them.
        earlier: the runs before.
        settings: thresholds; none: the defaults.
    """
    import pyarrow as pa  # the commands that only read need none of this

    from recbatch.config import Audit

    numbers = {k: v for k, v in (settings or Audit()).model_dump().items() if isinstance(v, int | float)}
    columns = ", ".join(f"{value!r} as {quote_name(name)}" for name, value in numbers.items())
    con.execute(f"create or replace view audit_settings as select {columns}")
    heads = [head, *earlier.nights]
    compared = [earlier.changes] if earlier.changes else []
    ids = {"parent_users": earlier.users, "parent_items": earlier.items, "parent_listed": earlier.listed}
    tables = {
        "nights": pa.Table.from_pylist(list(map(_night, range(len(heads)), heads)), _schema(_NIGHT)),
        "input_days": pa.Table.from_pylist(_days(heads), _schema(_DAY)),
        "input_columns": pa.Table.from_pylist(_columns(heads[:2]), _schema(_COLUMN)),
        "list_changes": pa.Table.from_pylist(compared, _schema(_CHANGES)),
    }
    for name, values in ids.items():
        column = "user_id" if name == "parent_users" else "item_id"
        tables[name] = pa.table({column: pa.array(values, pa.string()) if not isinstance(values, pa.Array) else values})
    for name, rows in tables.items():
        con.register(f"{name}_rows", rows)
        con.execute(f"create or replace view {quote_name(name)} as from {quote_name(name + '_rows')}")


def profile(con: duckdb.DuckDBPyConnection) -> Json:
    """What later runs will be compared with: cold users, and how the first ten model scores are spread.

    Args:
        con: from `over`.

    Returns:
        `cold_users`; `score_edges`, nine deciles, and `score_shares`, the share of the scores in each of the ten bins
        between them; none for both without a model.
    """
    [(cold, edges, shares)] = con.execute(_PROFILE).fetchall()
    return {"cold_users": cold, "score_edges": edges, "score_shares": shares}


_NIGHT = {
    "age": "int32",
    "run_id": "string",
    "run_date": "string",
    "model_id": "string",
    "events": "int64",
    "users": "int64",
    "titles": "int64",
    "cold_users": "int64",
    "newest_day_events": "int64",
    "newest_at": "string",
    "score_edges": "float64s",
    "score_shares": "float64s",
}
_DAY = {"age": "int32", "day": "string", "events": "int64"}
_COLUMN = {"age": "int32", "table_name": "string", "column_name": "string", "type": "string"}
_CHANGES = {"users": "int64", "compared": "int64", "overlap": "float64", "replaced": "int64"}


def _schema(words: dict[str, str]) -> pa.Schema:
    import pyarrow as pa

    types = {"int32": pa.int32(), "int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}
    types["float64s"] = pa.list_(pa.float64())
    return pa.schema([(name, types[word]) for name, word in words.items()])


def _night(age: int, head: Json) -> Json:
    known = (head.get("input") or {}) | (head.get("profile") or {})
    return {name: known.get(name, head.get(name)) for name in _NIGHT} | {"age": age}


def _days(heads: Sequence[Json]) -> list[Json]:
    return [
        {"age": age, "day": day, "events": events}
        for age, head in enumerate(heads)
        for day, events in (head.get("input") or {}).get("days", {}).items()
    ]


def _columns(heads: Sequence[Json]) -> list[Json]:
    return [
        {"age": age, "table_name": table, "column_name": column, "type": kind}
        for age, head in enumerate(heads)
        for table in TABLES
        for column, kind in (head.get("input") or {}).get("columns", {}).get(table, {}).items()
    ]


_DECILES = "[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]"
_PROFILE = f"""
with scores as (
    select score::double as score from recommendations
    where source = 'model' and rank <= 10
),

deciles as (
    select quantile_cont(score, {_DECILES}) as edges from scores
),

bins as (
    select len(list_filter(deciles.edges, lambda edge: edge < scores.score)) as bin, count(*) as amount
    from scores cross join deciles
    group by bin
),

shares as (
    select list(coalesce(bins.amount, 0) / (select sum(amount) from bins) order by bin) as shares
    from range(10) as numbers (bin) left join bins using (bin)
)

select
    (select count(*) from users where status = 'cold'),
    (select edges from deciles),
    (select if((select count(*) from bins) = 0, null, shares) from shares)
"""
