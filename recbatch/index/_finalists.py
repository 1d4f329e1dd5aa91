"""The kernel that every engine ends in: finalists scored again one by one, sorted by score and position, cut to k."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbatch import _compiling
from recbatch.contracts import NO_ITEM, Bools, Exclusions, Float32s, Int32s, Int64s
from recbatch.index import _compiled

_GATHER_CELLS = 8_000_000  # 32 MB for each of the two gathered operands


def exact_scores(queries: Float32s, candidates: Float32s, rows: Int64s, columns: Int32s) -> Float32s:
    """Scores of (query, candidate) pairs, each by itself: the same bits however the pairs are grouped.

    Args:
        queries: shape (B, dim).
        candidates: shape (items, dim).
        rows: shape (n,): query of each pair.
        columns: shape (n,): candidate of each pair.

    Returns:
        Shape (n,) float32.
    """
    if _compiling.is_due(2.0 * len(rows) * queries.shape[1]):
        return _compiled.scores_of(queries, candidates, rows, columns)
    step = max(1, _GATHER_CELLS // queries.shape[1])
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        scores[part] = _lane_sums(queries[rows[part]] * candidates[columns[part]])
    return scores


def _lane_sums(products: Float32s) -> Float32s:
    """Row sums in a fixed order: `LANES` partial sums side by side, halved pairwise; what is left over comes last."""
    lanes = _compiling.LANES
    whole = products.shape[1] - products.shape[1] % lanes
    sums = np.zeros((len(products), lanes), dtype=np.float32)
    for start in range(0, whole, lanes):
        sums += products[:, start : start + lanes]
    rest = np.zeros(len(products), dtype=np.float32)
    for column in range(whole, products.shape[1]):
        rest += products[:, column]
    for half in (8, 4):
        sums = sums[:, :half] + sums[:, half:]
    return ((sums[:, 0] + sums[:, 2]) + (sums[:, 1] + sums[:, 3])) + rest


def top_k(
    queries: Float32s, candidates: Float32s, rows: Int64s, columns: Int32s, k: int
) -> tuple[Int32s, Float32s, Int64s]:
    """The k best finalists of each query.

    Args:
        queries: shape (B, dim).
        candidates: shape (items, dim).
        rows: shape (n,): query of each finalist, ascending.
        columns: shape (n,): its candidate position; no pair twice.
        k: how many to keep.

    Returns:
        Positions (B, k) padded with NO_ITEM, scores (B, k) padded with -inf, both by score descending then position
        ascending, and the number of finalists of each query (B,).
    """
    count = len(queries)
    scores = exact_scores(queries, candidates, rows, columns)
    order = np.lexsort((columns, -scores, rows))
    finalists = np.bincount(rows, minlength=count)
    start = np.cumsum(finalists) - finalists
    rank = np.arange(len(rows)) - np.repeat(start, finalists)
    kept = rank < k
    order, rank, row = order[kept], rank[kept], rows[kept]  # rows are ascending, so sorting left them in place
    positions = np.full((count, k), NO_ITEM, dtype=np.int32)
    best = np.full((count, k), -np.inf, dtype=np.float32)
    positions[row, rank], best[row, rank] = columns[order], scores[order]
    return positions, best, finalists


def rounding_bound(queries: Float32s, longest: float) -> Float32s:
    """How far two float32 evaluation orders of one score can lie apart: shape (B,).

    Twice gamma_n |q| |c| with gamma_n = n u / (1 - n u) (Higham 2002, section 3.1), for the longest candidate.
    """
    dim = queries.shape[1]
    unit = dim * 2.0**-24
    lengths = np.sqrt((queries.astype(np.float64) ** 2).sum(axis=1))
    return np.asarray(2 * unit / (1 - unit) * longest * lengths, dtype=np.float32)


def unpack(keys: np.ndarray[Any, np.dtype[np.uint64]], k: int) -> tuple[Int32s, Float32s]:
    """The k best of each row of `_compiled.keys_of`: positions and scores as `top_k` returns them."""
    keys.sort(axis=1)
    best = keys[:, :k]
    there = best != np.iinfo(np.uint64).max
    positions = np.full((len(keys), k), NO_ITEM, dtype=np.int32)
    scores = np.full((len(keys), k), -np.inf, dtype=np.float32)
    bits = (best >> np.uint64(32)).astype(np.uint32)
    values = np.where(bits >> np.uint32(31), bits, ~bits & np.uint32(0x7FFFFFFF)).view(np.float32)
    np.copyto(positions[:, : best.shape[1]], (best & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32))
    np.copyto(positions[:, : best.shape[1]], NO_ITEM, where=~there)
    np.copyto(scores[:, : best.shape[1]], values, where=there)
    return positions, scores


def is_excluded(exclude: Exclusions, rows: Int64s, columns: Int32s, num_items: int) -> Bools:
    """Whether each (query, candidate) pair is excluded: shape (n,)."""
    counts = np.diff(exclude.offsets)
    keys = np.repeat(np.arange(len(counts), dtype=np.int64), counts) * num_items + exclude.items
    wanted = rows.astype(np.int64) * num_items + columns
    if len(keys) == 0:
        return np.zeros(len(wanted), dtype=np.bool_)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.asarray(keys[place] == wanted)
