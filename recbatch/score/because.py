"""Evidence: which title of the history has the largest share in each score, read off the towers themselves."""

from __future__ import annotations

from functools import partial

import numpy as np

from recbatch import _threads
from recbatch.contracts import NO_ITEM, Events, Float32s, Int32s, Int64s, Towers

_BLOCK_CELLS = 2_000_000
"""Numbers in the event vectors that each core holds at once, padded: 8 MB, and as much again while they are made."""


def reasons(towers: Towers, histories: Events, candidates: Float32s, found: Int32s) -> Int32s:
    """The event with the largest share in each recommended score, on all cores.

    A query is a sum of event vectors, so the share of event e in score(user, item) is vector(e) · candidate(item).
    Shares are multiplied in float32; where rounding could decide, those in doubt are compared in float64, pair by pair:
    the choice does not depend on how users are batched.

    Args:
        towers: give the event vectors.
        histories: B users with at least one event each; `items` index the vocabulary.
        candidates: shape (candidates, dim).
        found: shape (B, k): recommended candidates, NO_ITEM for none.

    Returns:
        Shape (B, k) int32: the row of `histories`, the earliest among equals; NO_ITEM where `found` is.
    """
    result = np.full(found.shape, NO_ITEM, dtype=np.int32)
    counts = histories.counts
    by_length = np.argsort(counts, kind="stable")

    def block(rows: Int64s) -> None:
        mine = histories.of_users(rows)
        which = _largest(towers.event_vectors(mine), mine.offsets, candidates[found[rows]])
        result[rows] = which + histories.offsets[rows, None]

    _threads.run([partial(block, by_length[part]) for part in _blocks(counts[by_length], candidates.shape[1])])
    result[found == NO_ITEM] = NO_ITEM
    return result


def _blocks(counts: Int64s, dim: int) -> list[slice]:
    """Users whose padded event vectors are held at once; counts are ascending."""
    found, start = [], 0
    while start < len(counts):
        reach = counts[start:] * np.arange(1, len(counts) - start + 1) * dim
        end = start + max(1, int(np.searchsorted(reach, _BLOCK_CELLS, side="right")))
        found.append(slice(start, end))
        start = end
    return found


def _largest(vectors: Float32s, offsets: Int64s, items: Float32s) -> Int64s:
    """Shape (B, k): which of a user's events, counted from the first, adds most to each of the items (B, k, dim)."""
    counts = np.diff(offsets)
    place = np.arange(int(counts.max()))
    inside = place < counts[:, None]
    event = offsets[:-1, None] + np.where(inside, place, 0)
    shares = np.matmul(vectors[event], items.transpose(0, 2, 1))
    if not inside.all():
        shares[~inside] = -np.inf
    rivals = shares >= (shares.max(axis=1) - _slack(vectors, offsets, items))[:, None]
    best = rivals.argmax(axis=1)
    doubtful = np.nonzero(rivals.sum(axis=1, dtype=np.int32) > 1)
    if len(doubtful[0]):
        best[doubtful] = _settled(vectors, offsets, items, rivals, doubtful)
    return np.asarray(best)


def _slack(vectors: Float32s, offsets: Int64s, items: Float32s) -> Float32s:
    """How far two shares that are equal may lie apart in float32: shape (B, k); see `index.rounding_bound`."""
    unit = vectors.shape[1] * 2.0**-24
    squares = np.maximum.reduceat(np.einsum("ed,ed->e", vectors, vectors), offsets[:-1])
    lengths = np.sqrt(squares)[:, None] * np.sqrt(np.einsum("bkd,bkd->bk", items, items))
    return np.asarray(4 * unit / (1 - unit) * lengths, dtype=np.float32)


def _settled(
    vectors: Float32s, offsets: Int64s, items: Float32s, rivals: np.ndarray, doubtful: tuple[Int64s, ...]
) -> Int64s:
    """The earliest event with the largest share in float64, for each (user, place) in doubt."""
    user, column = doubtful
    pair, event = np.nonzero(rivals[user, :, column])
    left = vectors[offsets[user[pair]] + event].astype(np.float64)
    shares = np.einsum("pd,pd->p", left, items[user[pair], column[pair]].astype(np.float64))
    order = np.lexsort((event, -shares, pair))
    first = np.searchsorted(pair, np.arange(len(user)))
    return np.asarray(event[order[first]], dtype=np.int64)
