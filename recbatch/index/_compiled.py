"""Products with selection, and rescoring, as compiled loops, where NumPy cannot fuse; its twins give the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recbatch._compiling import CHUNK, STRETCH, TILE_DEPTH, TILE_ROWS, tile_shapes, vector_unit, zeros
from recbatch.contracts import Exclusions, Float32s, Int32s, Int64s
from recbatch.index import _kernels, _loops, _rounded
from recbatch.index._rounded import RoundedCandidates

_BLOCK_CELLS = 2**17
"""Numbers of candidates that all queries of a call meet before the next: 512 KiB, inside the second cache."""
_LEAF_WIDTH = 1_024
"""Scores of a leaf that are looked at together at most, a multiple of `STRETCH`."""
_NONE = np.empty(0, dtype=np.float32)
_NO_NAMES = np.empty(0, dtype=np.int32)
_NO_SHAPES = np.empty(0, dtype=np.uint8)
_LOWER = np.uint64(0xFFFFFFFF)
_ROOM = 4
"""Times k: how many may wait to be told apart."""


@dataclass(slots=True)
class Survivors:
    """What may still be among the k best of each query, while the blocks of candidates go by."""

    values: Float32s
    """Shape (B, room): scores as the matrix product gives them."""
    items: Int32s
    """Shape (B, room): places of candidates."""
    counts: Int64s
    """Shape (B,)."""
    floors: Float32s
    """Shape (B,): a score below cannot be among the k best."""
    next_excluded: Int64s
    """Shape (B,): first exclusion of each query that may lie in what is still to come."""
    slack: Float32s
    """Shape (B,): how far such a score may lie from `exact_scores` of the same pair, twice."""

    @classmethod
    def none(cls, first_excluded: Int64s, k: int, slack: Float32s) -> Survivors:
        """Nobody yet.

        Args:
            first_excluded: shape (B,): where each query's exclusions begin.
            k: how many are wanted.
            slack: shape (B,): how far a score in float32 may lie from `exact_scores` of the same pair, twice.
        """
        count, room = len(first_excluded), CHUNK * (-(-_ROOM * k // CHUNK) + 4)
        floors = np.full(count, np.finfo(np.float32).min, dtype=np.float32)  # -inf marks what is excluded
        values = np.empty((count, room), dtype=np.float32)
        items = np.empty((count, room), dtype=np.int32)
        return cls(values, items, np.zeros(count, dtype=np.int64), floors, first_excluded.copy(), slack)


Packed = Float32s | RoundedCandidates
"""Candidates as the products read them; see `packed`."""


def packed(candidates: Float32s, *, in_bytes: bool) -> Packed:
    """Candidates as the products read them: shape (panels, dim, candidates of a panel), the last filled up with 0.

    Args:
        candidates: shape (items, dim).
        in_bytes: rounded to bytes instead; see `_rounded`.
    """
    columns = vector_unit().columns
    if in_bytes:
        return _rounded.candidates(candidates, columns, in_tiles=vector_unit().has_tiles)
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
        into: takes what may be among the k best.

    Returns:
        How many scores were told apart one by one, because too many lay too near each other.
    """
    who = np.arange(len(queries), dtype=np.int64)
    width = STRETCH * max(1, _BLOCK_CELLS // (queries.shape[1] * STRETCH))
    way, arguments = _passing(queries, candidates, _NO_NAMES, packed, k, ends, excluded, into, who, len(queries), width)
    return _kernels.SEARCH[way](*arguments)


def visit(
    queries: Float32s,
    candidates: Float32s,
    names: Int32s,
    packed: Packed,
    k: int,
    *,
    firsts: Int64s,
    lasts: Int64s,
    leaves: Int32s,
    many: Int64s,
    ends: Int64s,
    excluded: Int32s,
    into: Survivors,
) -> int:
    """As `search`, each query past the candidates of the leaves that it visits.

    Args:
        queries: shape (B, dim).
        candidates: shape (places, dim): leaf by leaf, each from a multiple of `vector_unit().columns` on.
        names: shape (places,): candidate positions.
        packed: the same candidates, see `packed`.
        k: how many are wanted.
        firsts: shape (leaves,): where each leaf begins.
        lasts: shape (leaves,): and ends.
        leaves: shape (B, most): which leaves each query visits, none twice.
        many: shape (B,): so many of them.
        ends: shape (B,): where each query's exclusions end in `excluded`.
        excluded: places, ascending within a query.
        into: takes what may be among the k best.
    """
    visitors, who = np.empty(len(firsts) + 2, dtype=np.int64), np.empty(int(many.sum()), dtype=np.int64)
    _kernels.VISITORS(leaves, many, visitors, who)
    way, arguments = _passing(queries, candidates, names, packed, k, ends, excluded, into, who, 1, _LEAF_WIDTH)
    return _kernels.VISIT[way](*arguments, firsts, lasts, visitors)


def excluded_there(
    leaves: Int32s, many: Int64s, exclude: Exclusions, leaf_of: Int32s, place_of: Int32s, num_leaves: int
) -> Exclusions:
    """Exclusions by place instead of position, ascending, of those that lie in leaves that their query visits.

    Args:
        leaves: shape (B, most), see `visit`.
        many: shape (B,).
        exclude: by candidate position.
        leaf_of: shape (items,).
        place_of: shape (items,).
        num_leaves: how many there are.
    """
    keys = np.empty(len(exclude.items) + 1, dtype=np.uint64)
    marks = np.zeros(num_leaves, dtype=np.uint8)
    found = keys[: _kernels.THERE(leaves, many, exclude.offsets, exclude.items, leaf_of, place_of, marks, keys)]
    found.sort()
    rows = np.arange(len(leaves) + 1, dtype=np.uint64) << np.uint64(32)
    return Exclusions(np.searchsorted(found, rows).astype(np.int64), (found & _LOWER).astype(np.int32))


def _passing(
    queries: Float32s,
    candidates: Float32s,
    names: Int32s,
    packed: Packed,
    k: int,
    ends: Int64s,
    excluded: Int32s,
    into: Survivors,
    who: Int64s,
    at_once: int,
    width: int,
) -> tuple[str, tuple[Any, ...]]:
    """How queries pass candidates on this machine, a key of `_kernels.SEARCH`, and what the loops of `_passes` take.

    So many queries are packed at a time, and at most `width` scores of one are looked at together.
    """
    rows, dim, shapes, way = vector_unit().rows, queries.shape[1], _NO_SHAPES, "floats"
    words: Any = queries
    panels: Any = packed
    facts: tuple[Any, ...] = (_NONE.view(np.int32), _NONE, _NONE)
    room: Any = (dim, rows)
    if isinstance(packed, RoundedCandidates):
        way, panels, rounded = "bytes", packed.panels, _rounded.queries(queries, packed)
        words, facts, into.slack = rounded.words, (rounded.starts, rounded.steps, rounded.bases), 2 * rounded.bound
        room = (words.shape[1], rows)
        if packed.in_tiles:
            way, rows, shapes = "tiles", TILE_ROWS, tile_shapes(packed.panels.shape[1])
            room = (words.shape[1] // TILE_DEPTH * rows, TILE_DEPTH)
    groups = zeros(-(-at_once // rows), *room).view(panels.dtype)
    scores = zeros(rows, width + _loops.APART).view(panels.dtype)
    arguments = (
        shapes, queries, candidates, names, panels, words, *facts, groups, scores, who, k, ends, excluded,
        into.slack, into.values, into.items, into.counts, into.floors, into.next_excluded, zeros(1, width),
        np.empty(into.values.shape[1], np.uint64),
    )  # fmt: skip
    return way, arguments


def scores_of(queries: Float32s, candidates: Float32s, rows: Int64s, columns: Int32s) -> Float32s:
    """The compiled twin of `_finalists.exact_scores`."""
    scores = np.empty(len(rows), dtype=np.float32)
    _kernels.SCORES(np.ascontiguousarray(queries), np.ascontiguousarray(candidates), rows, columns, scores)
    return scores


def keys_of(
    queries: Float32s, candidates: Float32s, survivors: Survivors, k: int, names: Int32s | None = None
) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """The k best survivors, and few others, as sortable keys, in no order: shape (B, few more than k).

    Ascending keys are descending scores, then ascending positions: 32 bits of each; all bits are set where none is.

    Args:
        queries: shape (B, dim).
        candidates: shape (places, dim).
        survivors: of these queries, by place; how many there are will be how many keys.
        k: how many are wanted.
        names: shape (places,): candidate positions; none: places are positions.
    """
    enough, room = k + k // _loops.SPARE, survivors.values.shape[1]
    keys = np.empty((len(queries), min(enough, int(survivors.counts.max(initial=0)))), dtype=np.uint64)
    loop, names = (_kernels.KEYS, _NO_NAMES) if names is None else (_kernels.KEYS_NAMED, names)
    loop(
        queries, candidates, names, survivors.values, survivors.items, survivors.counts, survivors.floors,
        survivors.slack, k, enough, zeros(1, room), zeros(1, room).view(np.int32), np.empty(room, np.uint64), keys,
    )  # fmt: skip
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
    _kernels.KEYS_AMONG(queries, candidates, found, fetched, k, slack, first, end, exclude.items, keys, counts)
    return keys[:, : int(counts.max(initial=0))], counts
