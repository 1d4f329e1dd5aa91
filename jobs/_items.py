"""One title, by what an operator types."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import pyarrow as pa

from recbatch import dataset, views
from recbatch.contracts import SourceTables
from recbatch.errors import InputMissing, UsageError


def find_item(con: duckdb.DuckDBPyConnection, text: str) -> tuple[str, str]:
    """Id and title of an item of the live run.

    Args:
        con: from `views.connect`.
        text: an item id, or a title exactly as it stands; an id goes before a title.

    Raises:
        InputMissing: neither; names the nearest title.
        UsageError: several items bear the title; names their ids.
    """
    found = views.query(con, _FIND, [text]).to_pylist()
    exact = [row for row in found if row["item_id"] == text] or found
    if len(exact) > 1:
        raise UsageError(
            f"several items are called {text!r}: name one by its id, {', '.join(r['item_id'] for r in exact)}"
        )
    if exact:
        return exact[0]["item_id"], exact[0]["title"]
    near = views.query(con, _NEAR, [text]).to_pylist()
    hint = f"; did you mean {near[0]['title']!r}, {near[0]['item_id']}?" if near else "; the live run has no items"
    raise InputMissing(f"no item has the id or the exact title {text!r}{hint}")


_FIND = "select item_id, title from items where item_id = $1 or title = $1 order by item_id limit 20"
_NEAR = (
    "select item_id, title from items order by jaro_winkler_similarity(lower(title), lower($1)) desc, item_id limit 1"
)


def leave_out(tables: SourceTables, gone: dict[str, str], *, merge_by_title: bool | None = None) -> SourceTables:
    """The input as if withdrawn titles did not exist: no candidates, and no events on them.

    Args:
        tables: clean input.
        gone: item id → title, from `withdrawn.read`.
        merge_by_title: as for `dataset.build`; where titles are merged, every id of a withdrawn title goes.

    Returns:
        The tables; unchanged where nothing is withdrawn.
    """
    if not gone:
        return tables
    import pyarrow.compute as pc

    items = tables.items
    out = pc.is_in(items["item_id"], value_set=pa.array(list(gone), pa.string()))
    if tables.merge_by_title if merge_by_title is None else merge_by_title:
        out = pc.or_(out, pc.is_in(items["title"], value_set=pa.array(list(gone.values()), pa.string())))
    ids = items.filter(out)["item_id"].combine_chunks()
    return replace(dataset.without_items(tables, ids), items=items.filter(pc.invert(out)))
