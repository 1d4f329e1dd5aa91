"""What users must not get, as rows of item positions: put together, cut and renamed. No loop over users."""

from __future__ import annotations

import numpy as np

from recbatch.contracts import Bools, Exclusions, Int32s, Int64s


def nothing(queries: int) -> Exclusions:
    """Rows that exclude nothing."""
    return Exclusions(np.zeros(queries + 1, dtype=np.int64), np.empty(0, dtype=np.int32))


def renamed(exclude: Exclusions, columns: Int32s) -> Exclusions:
    """The same under other names.

    Args:
        exclude: items.
        columns: shape (items,): what each is called, ascending, -1 to leave it out.
    """
    items = columns[exclude.items]
    kept_before = np.concatenate([[0], np.cumsum(items >= 0)])
    return Exclusions(kept_before[exclude.offsets], items[items >= 0])


def union(first: Exclusions, second: Exclusions) -> Exclusions:
    """What either excludes, row by row."""
    if not len(second.items):
        return first
    if not len(first.items):
        return second
    width = max(int(first.items.max()), int(second.items.max())) + 1
    return of_keys(np.concatenate([_keys(first, width), _keys(second, width)]), len(first.offsets) - 1, width)


def of_keys(keys: Int64s, queries: int, width: int) -> Exclusions:
    """Rows from the numbers row · width + item, in any order, each of them once however often it comes.

    By sorting: `np.unique` hashes first, which takes ten times as long.
    """
    keys = np.sort(keys)
    keys = keys[np.diff(keys, prepend=-1) > 0]
    offsets = np.searchsorted(keys, np.arange(queries + 1, dtype=np.int64) * width)
    return Exclusions(offsets.astype(np.int64), (keys % width).astype(np.int32))


def of_pairs(rows: Int64s, items: Int32s, queries: int) -> Exclusions:
    """Rows from (row, item) pairs, each pair once, in any order."""
    order = np.lexsort((items, rows))
    offsets = np.searchsorted(rows[order], np.arange(queries + 1))
    return Exclusions(offsets.astype(np.int64), items[order].astype(np.int32))


def is_barred(exclude: Exclusions, items: Int32s) -> Bools:
    """Shape of `items` (B, n): whether each is excluded in its row; negative ones are not."""
    width = max(int(exclude.items.max(initial=0)), int(items.max(initial=0))) + 1
    wanted = np.arange(len(items), dtype=np.int64)[:, None] * width + items
    return np.asarray(np.isin(wanted, _keys(exclude, width)) & (items >= 0))


def _keys(exclude: Exclusions, width: int) -> Int64s:
    counts = np.diff(exclude.offsets)
    return np.repeat(np.arange(len(counts), dtype=np.int64), counts) * width + exclude.items
