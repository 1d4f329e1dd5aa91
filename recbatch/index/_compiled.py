"""Products with selection, and rescoring, as compiled loops, where NumPy cannot fuse; its twins give the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recbatch._compiling import CHUNK, compiled, once, zeros
from recbatch.contracts import Exclusions, Float32s, Int32s, Int64s
from recbatch.index import _loops, _rounded
from recbatch.index._rounded import RoundedCandidates

_BLOCK_CELLS = 2**17
"""Numbers of candidates that all queries of a call meet before the next: 512 KiB, inside the second cache."""
_ROOM = 4
"""Times k: how many may wait to be told apart."""


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
        count, room = len(first_excluded), CHUNK * (-(-_ROOM * k // CHUNK) + 4)
        floors = np.full(count, np.finfo(np.float32).min, dtype=np.float32)  # -inf marks what is excluded
        values = np.empty((count, room), dtype=np.float32)
        items = np.empty((count, room), dtype=np.int32)
        return cls(values, items, np.zeros(count, dtype=np.int64), floors, first_excluded.copy())


Packed = Float32s | RoundedCandidates
"""Candidates as the products read them; see `packed`."""


def packed(candidates: Float32s, *, in_bytes: bool) -> Packed:
    """Candidates as the products read them: shape (panels, dim, candidates of a panel), the last filled up with 0.

    Args:
        candidates: shape (items, dim).
        in_bytes: rounded to bytes instead; see `_rounded`.
    """
    columns = _kernels().columns
    if in_bytes:
        return _rounded.candidates(candidates, columns)
    dim, whole, count = candidates.shape[1], len(candidates) // columns, -(-len(candidates) // columns)
    panels = zeros(count, dim, columns)
    panels[:whole] = candidates[: whole * columns].reshape(whole, columns, dim).transpose(0, 2, 1)
    if whole < count:
        panels[whole, :, : len(candidates) - whole * columns] = candidates[whole * columns :].T
    return panels


def search(
    queries: Float32s,
    candidates: Float32s,
    packed: Packed,
    k: int,
    *,
    ends: Int64s,
    excluded: Int32s,
    slack: Float32s,
    into: Survivors,
) -> int:
    """Scores of all pairs, block by block, and what may be among the k best of each query.

    A block of candidates stays in the second cache while all queries go by, the scores of a few queries in the first.

    Args:
        queries: shape (B, dim).
        candidates: shape (items, dim).
        packed: the same, see `packed`.
        k: how many are wanted.
        ends: shape (B,): where each query's exclusions end in `excluded`.
        excluded: candidate positions, ascending within a query.
        slack: shape (B,): how far a score in float32 may lie from `exact_scores` of the same pair, twice.
        into: takes what may be among the k best.

    Returns:
        How many scores were told apart one by one, because too many lay too near each other.
    """
    kernels, dim = _kernels(), queries.shape[1]
    if isinstance(packed, RoundedCandidates):
        rounded = _rounded.queries(queries, packed, kernels.rows)
        groups: Any = (rounded.bytes, rounded.starts, rounded.steps, rounded.bases)
        search, slack = kernels.search_bytes, 2 * rounded.bound
        panels: Any = packed.panels
    else:
        groups = zeros(-(-len(queries) // kernels.rows), dim, kernels.rows)
        kernels.pack(queries, groups)
        search, panels = kernels.search, packed
    width = CHUNK * max(1, _BLOCK_CELLS // (dim * CHUNK))
    return int(search(
        queries, candidates, panels, groups, zeros(kernels.rows, width), k, ends, excluded, slack,
        into.values, into.items, into.counts, into.floors, into.next_excluded,
    ))  # fmt: skip


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
    rows: int
    columns: int
    pack: Any
    search: Any
    search_bytes: Any
    score: Any
    keys: Any
    keys_among: Any


@once
def _kernels() -> _Kernels:
    import numba

    from recbatch import _llvm
    from recbatch import _vectors as vectors

    jit = numba.njit(nogil=True)
    leaf = numba.njit(nogil=True, inline="always")  # numba else compiles each by itself as well
    dot, key = leaf(_loops.dot(vectors.lane_sums)), leaf(_loops.key)
    order = leaf(_loops.ordered), leaf(_loops.unordered)
    bound = jit(_loops.bound(vectors.at_least, vectors.ones, vectors.highest, *order))
    exclude, maxima, drop = (leaf(loop) for loop in (_loops.exclude, _loops.maxima, _loops.drop_below))
    keep_best = leaf(_loops.keep_best(dot, key))
    select = jit(_loops.select(exclude, maxima, bound, vectors.at_least, vectors.first_bit, drop, keep_best))
    search = jit(_loops.search(vectors.products, select))
    search_bytes = jit(_loops.search(leaf(_loops.of_bytes(vectors.byte_products)), select))
    last = jit(_loops.keys(dot, key)), jit(_loops.keys_among(dot, key))
    compiled()
    pack, scores = jit(_loops.pack), jit(_loops.score(dot))
    return _Kernels(_llvm.ROWS, _llvm.COLUMNS, pack, search, search_bytes, scores, *last)
