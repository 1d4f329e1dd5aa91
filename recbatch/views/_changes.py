"""How lists changed, of rows in memory: the select behind `diff_runs`, where only some users are asked for."""

from __future__ import annotations

import contextlib

import duckdb
import pyarrow as pa

from recbatch.views._render import list_changes as select


def list_changes(before: pa.Table, after: pa.Table) -> pa.Table:
    """What `diff_runs` says of two sets of lists.

    Args:
        before: user_id, rank, item_id, title of some users.
        after: the same columns of the later lists.

    Returns:
        One row per user of either, by user: rows_before, rows_after, kept, overlap, rbo, entered, dropped, replaced.
    """
    with contextlib.closing(duckdb.connect()) as con:
        con.register("rows_before", before)
        con.register("rows_after", after)
        rows = "(select *, 'a' as run_id from rows_before union all by name select *, 'b' as run_id from rows_after)"
        return con.sql(f"from ({select(rows, 'a', 'b')}) order by user_id").to_arrow_table()
