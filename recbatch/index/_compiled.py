"""Selection and rescoring as compiled loops: what NumPy cannot fuse. Each has a NumPy twin that gives the same bits.

Compiled in memory on first use (about 3 s, numba), which large nights earn back and small ones never pay: `is_due`
counts the work done so far, and what has been compiled is used. Nothing is cached on disk: numba's cache files are
pickles.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbatch.contracts import Exclusions, Float32s, Int32s, Int64s
from recbatch.index import _loops
from recbatch.index._loops import CHUNK

_DUE_AFTER = 3.0e11
"""Multiplications and additions, about 2 s of matrix product on two cores, after which compiling pays."""

_done = [0.0]


def is_due(operations: float) -> bool:
    """Counts work towards compiling, and says whether it has been earned."""
    _done[0] += operations
    return _done[0] >= _DUE_AFTER


@dataclass(slots=True)
class Survivors:
    """What may still be among the k best of each query, while the blocks of candidates go by."""

    values: Float32s
    """Shape (B, room): scores as the matrix product gives them."""
    items: Int32s
    """Shape (B, room): candidate positions, ascending."""
    counts: Int64s
    """Shape (B,)."""
    floors: Float32s
    """Shape (B,): a score below cannot be among the k best."""
    next_excluded: Int64s
    """Shape (B,): first exclusion of each query that lies in a block to come."""

    @classmethod
    def none(cls, first_excluded: Int64s, k: int) -> Survivors:
        """Nobody yet.

        Args:
            first_excluded: shape (B,): where each query's exclusions begin.
            k: how many are wanted.
        """
        count, room = len(first_excluded), 2 * k + 4 * CHUNK
        floors = np.full(count, np.finfo(np.float32).min, dtype=np.float32)  # -inf marks what is excluded
        values = np.empty((count, room), dtype=np.float32)
        items = np.empty((count, room), dtype=np.int32)
        return cls(values, items, np.zeros(count, dtype=np.int64), floors, first_excluded.copy())


def select(
    scores: Float32s,
    first: int,
    k: int,
    *,
    queries: Float32s,
    candidates: Float32s,
    ends: Int64s,
    excluded: Int32s,
    slack: Float32s,
    into: Survivors,
) -> None:
    """Looks through a block of scores, which it changes: excluded ones become -inf.

    Args:
        scores: shape (B, width): of candidates first, first + 1, …; width is a multiple of CHUNK.
        first: position of the first candidate of the block; blocks come in order.
        k: how many are wanted.
        queries: shape (B, dim).
        candidates: shape (items, dim).
        ends: shape (B,): where each query's exclusions end in `excluded`.
        excluded: candidate positions, ascending within a query.
        slack: shape (B,): how far a score may lie from `exact_scores` of the same pair, twice.
        into: takes what may be among the k best.
    """
    _kernels().select(
        scores, first, k, queries, candidates, ends, excluded, slack,
        into.values, into.items, into.counts, into.floors, into.next_excluded,
    )  # fmt: skip


def scores_of(queries: Float32s, candidates: Float32s, rows: Int64s, columns: Int32s) -> Float32s:
    """The compiled twin of `_finalists.exact_scores`."""
    scores = np.empty(len(rows), dtype=np.float32)
    _kernels().score(np.ascontiguousarray(queries), np.ascontiguousarray(candidates), rows, columns, scores)
    return scores


def keys_of(queries: Float32s, candidates: Float32s, survivors: Survivors) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Survivors scored again as sortable keys, in no order: shape (B, most survivors), all bits set where none is.

    Ascending keys are descending scores, then ascending positions: 32 bits of each.
    """
    keys = np.empty((len(queries), int(survivors.counts.max(initial=0))), dtype=np.uint64)
    _kernels().keys(queries, candidates, survivors.items, survivors.counts, keys)
    return keys


def keys_among(
    queries: Float32s,
    candidates: Float32s,
    found: Int32s,
    fetched: Float32s,
    k: int,
    slack: Float32s,
    exclude: Exclusions,
) -> tuple[np.ndarray[Any, np.dtype[np.uint64]], Int64s]:
    """What another engine found as keys of `keys_of`, without padding and without what is excluded.

    Where it comes best first, what lies below the k-th by more than rounding explains is not scored again.

    Args:
        queries: shape (B, dim).
        candidates: shape (items, dim).
        found: shape (B, n): candidate positions, none twice in a row.
        fetched: shape (B, n): scores of any order of evaluation, not finite where there is nothing.
        k: how many are wanted.
        slack: shape (B,): how far two such scores of one pair may lie apart, twice.
        exclude: per query.

    Returns:
        Keys (B, n) in no order, and how many there are of each query (B,).
    """
    keys = np.empty(found.shape, dtype=np.uint64)
    counts = np.empty(len(queries), dtype=np.int64)
    first, end = exclude.offsets[:-1], exclude.offsets[1:]
    _kernels().keys_among(queries, candidates, found, fetched, k, slack, first, end, exclude.items, keys, counts)
    return keys[:, : int(counts.max(initial=0))], counts


@dataclass(frozen=True, slots=True)
class _Kernels:
    select: Any
    score: Any
    keys: Any
    keys_among: Any


@functools.cache
def _kernels() -> _Kernels:
    import numba

    from recbatch.index import _vectors as vectors

    jit = numba.njit(nogil=True)
    dot, key, bound = jit(_loops.dot(vectors.lane_sums)), jit(_loops.key), jit(_loops.bound)
    exclude, maxima, drop = (jit(loop) for loop in (_loops.exclude, _loops.maxima, _loops.drop_below))
    keep_best = jit(_loops.keep_best(dot, key))
    select = _loops.select(exclude, maxima, bound, vectors.at_least, vectors.first_bit, drop, keep_best)
    last = jit(_loops.keys(dot, key)), jit(_loops.keys_among(dot, key))
    _done[0] = max(_done[0], _DUE_AFTER)
    return _Kernels(jit(select), jit(_loops.score(dot)), *last)
