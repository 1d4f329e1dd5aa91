"""The scoring stage without a lake: search in batches, Parquet written beside it. For benchmarks."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa

from recbatch import dataset, schemas, score
from recbatch.behind import behind
from recbatch.config import Data
from recbatch.contracts import Dataset, Exclusions, Float32s, Index, Int32s, Lists, SourceTables
from recbatch.publish import TableWriter

_WAITING = 4
_REASONS = 25
"""Different ones in a list of 100: the mean of a night of MovieLens 25M's shape."""


def stream(
    index: Index, queries: Float32s, seen: Exclusions, data: Dataset, users: int, k: int, folder: Path | None
) -> float:
    """Searches for so many users, in batches of those given, and writes `recommendations`; seconds.

    Args:
        index: what to search.
        queries: shape (B, dim): one batch, searched for again and again.
        seen: of these users.
        data: names users and titles.
        users: how many.
        k: rows per user.
        folder: where to; none: nothing is written.
    """
    began = time.monotonic()
    if folder is None:
        for start in range(0, users, len(queries)):
            _search(index, queries, seen, min(len(queries), users - start), k)
        return time.monotonic() - began
    with TableWriter(folder, schemas.RECOMMENDATIONS) as writer, behind(_WAITING) as call:

        def write(lists: Lists) -> None:
            writer.write(score.to_table(lists, data))

        for start in range(0, users, len(queries)):
            found, scores = _search(index, queries, seen, min(len(queries), users - start), k)
            call(write, listed(np.arange(start, start + len(found), dtype=np.int32), found, scores, seen))
    return time.monotonic() - began


def _search(index: Index, queries: Float32s, seen: Exclusions, users: int, k: int) -> tuple[Int32s, Float32s]:
    offsets = seen.offsets[: users + 1]
    return index.search(queries[:users], k, Exclusions(offsets, seen.items[: offsets[-1]]))


def listed(users: Int32s, found: Int32s, scores: Float32s, seen: Exclusions) -> Lists:
    """Searched lists with reasons of as many kinds as real ones: `_REASONS` titles of each user's own history.

    Args:
        users: shape (B,).
        found: shape (B, k).
        scores: shape (B, k).
        seen: of B users at least, each with a history.
    """
    first, counts = seen.offsets[: len(users), None], np.diff(seen.offsets)[: len(users), None]
    because = seen.items[first + np.arange(found.shape[1]) % np.minimum(counts, _REASONS)]
    return Lists(users, found, scores, np.ones(found.shape, dtype=np.int8), because)


def parquet_bytes(folder: Path) -> int:
    """Of all Parquet files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*.parquet"))


def named(users: int, titles: int) -> Dataset:
    """So many users and titles by name, with one event."""
    user_ids = pa.array(np.char.mod("u%08d", np.arange(users)))
    ids = pa.array(np.arange(titles)).cast(pa.string())
    items = pa.table({"item_id": ids, "title": [f"Generated Picture {number}" for number in range(titles)]})
    event = [user_ids[:1], ids[:1], *(pa.nulls(1, kind) for kind in (pa.timestamp("us"), pa.float32(), pa.float32()))]
    rows = pa.table(event, names=list(schemas.INTERACTIONS.column_names))
    nothing = schemas.arrow(schemas.QUARANTINE).empty_table()
    tables = SourceTables(rows, items, pa.table({"user_id": user_ids}), nothing, (), merge_by_title=False)
    return dataset.build(tables, Data(), date(2024, 1, 1))
