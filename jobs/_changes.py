"""What a night changes in the lists of the run before: overlap, titles that come and go, users wholly replaced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import views
from recbatch.contracts import Json
from recbatch.store import Lake

BLOCK = 100
"""Users who stand side by side, read at once: half a row group of lists of 100."""
BLOCKS = 50
"""Blocks at most: 5,000 users give the mean overlap to a percent, and a million users are not read for it."""
_TITLES = 8
"""Titles named that come or go most often."""


def since_parent(lake: Lake, con: duckdb.DuckDBPyConnection, head: Json) -> Json | None:
    """How tonight's lists differ from the parent run's, among users of tonight spread evenly over all.

    Args:
        lake: the parent is live in it.
        con: holds the views of the run of tonight.
        head: of its manifest.

    Returns:
        users (asked for), compared (of these, with a list in both runs), overlap and rbo (means over the compared),
        unchanged (the same titles), replaced (no title in common), without_list_before, entered and dropped: titles
        with the compared users in whose lists they are new, or missing, most frequent first. None without a parent.
    """
    if not head.get("parent"):
        return None
    ranges = views.query(con, _RANGES, [BLOCK, BLOCKS]).to_pylist()
    with views.connect(lake) as earlier:
        before = [views.query(earlier, _BEFORE, [head["parent"], *each.values()]) for each in ranges]
    after = [views.query(con, _AFTER, list(each.values())) for each in ranges]
    if not after:
        return None
    return summary(views.list_changes(pa.concat_tables(before), pa.concat_tables(after)))


def summary(changes: pa.Table) -> Json:
    """The figures of `since_parent` over rows of `views.list_changes`."""
    old, new = (changes[name].to_numpy() > 0 for name in ("rows_before", "rows_after"))
    both = changes.filter(pa.array(old & new))
    overlap = both["overlap"].to_numpy()
    return {
        "users": changes.num_rows,
        "compared": both.num_rows,
        "overlap": float(overlap.mean()) if both.num_rows else None,
        "rbo": float(both["rbo"].to_numpy().mean()) if both.num_rows else None,
        "unchanged": int(np.count_nonzero(overlap == 1)),
        "replaced": int(np.count_nonzero(both["replaced"].to_numpy(zero_copy_only=False))),
        "without_list_before": int(np.count_nonzero(~old & new)),
        "entered": _most(both["entered"]),
        "dropped": _most(both["dropped"]),
    }


def _most(titles: pa.ChunkedArray) -> list[Json]:
    counted: Iterable[Json] = pc.value_counts(pc.list_flatten(titles)).to_pylist()
    users = Counter({str(each["values"]): int(each["counts"]) for each in counted})
    ordered = sorted(users.items(), key=lambda pair: (-pair[1], pair[0]))
    return [{"title": title, "users": amount} for title, amount in ordered[:_TITLES]]


_RANGES = """
with numbered as (
    select user_id, row_number() over (order by user_id) - 1 as place, count(*) over () as amount
    from users
),

strides as (
    select user_id, place, greatest($1, amount // $2)::bigint as stride from numbered
)

select min(user_id) as first, max(user_id) as last
from strides
where place % stride < $1
group by place // stride
order by first
"""
_AFTER = "select user_id, rank, item_id, title from recommendations where user_id between $1 and $2"
_BEFORE = """
select user_id, rank, item_id, title
from recommendations_history
where run_id = $1 and user_id between $2 and $3
"""
