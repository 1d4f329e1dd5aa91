"""What users must not get, as rows of item positions: put together, cut and renamed. No loop over users."""

from __future__ import annotations

import numpy as np

from recbatch import _threads
from recbatch.contracts import Bools, Exclusions, Int32s, Int64s


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
    bits = max(int(first.items.max()), int(second.items.max())).bit_length()
    return of_keys(np.concatenate([_keys(first, bits), _keys(second, bits)]), len(first.offsets) - 1, bits)


def each_once(offsets: Int64s, items: Int32s) -> Exclusions:
    """Rows of items in any order, each of them once however often it comes; half of the rows by each of two cores.

    Args:
        offsets: shape (rows + 1,): where each row begins, from 0.
        items: shape (offsets[-1],).
    """
    rows, bits = len(offsets) - 1, int(items.max(initial=0)).bit_length()

    def some(first: int, end: int) -> Exclusions:
        mine = Exclusions(offsets[first : end + 1] - offsets[first], items[offsets[first] : offsets[end]])
        return of_keys(_keys(mine, bits), end - first, bits)

    upper, lower = _threads.both(lambda: some(0, rows // 2), lambda: some(rows // 2, rows))
    return Exclusions(
        np.concatenate([upper.offsets, upper.offsets[-1] + lower.offsets[1:]]),
        np.concatenate([upper.items, lower.items]),
    )


def of_keys(keys: Int64s, queries: int, bits: int) -> Exclusions:
    """Rows from numbers whose last `bits` are the item, those before them the row: in any order, each counted once.

    By sorting: `np.unique` hashes first, which takes ten times as long.
    """
    keys = np.sort(keys)
    keys = keys[np.diff(keys, prepend=-1) > 0]
    offsets = np.searchsorted(keys, np.arange(queries + 1, dtype=np.int64) << bits)
    return Exclusions(offsets.astype(np.int64), (keys & ((1 << bits) - 1)).astype(np.int32))


def of_pairs(rows: Int64s, items: Int32s, queries: int) -> Exclusions:
    """Rows from (row, item) pairs, each pair once, in any order."""
    order = np.lexsort((items, rows))
    offsets = np.searchsorted(rows[order], np.arange(queries + 1))
    return Exclusions(offsets.astype(np.int64), items[order].astype(np.int32))


def is_barred(exclude: Exclusions, items: Int32s) -> Bools:
    """Shape of `items` (B, n): whether each is excluded in its row; negative ones are not."""
    bits = max(int(exclude.items.max(initial=0)), int(items.max(initial=0))).bit_length()
    wanted = (np.arange(len(items), dtype=np.int64)[:, None] << bits) + items
    return np.asarray(np.isin(wanted, _keys(exclude, bits)) & (items >= 0))


def _keys(exclude: Exclusions, bits: int) -> Int64s:
    counts = np.diff(exclude.offsets)
    rows: Int64s = np.repeat(np.arange(len(counts), dtype=np.int64) << bits, counts)
    return rows + exclude.items
