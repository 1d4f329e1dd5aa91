"""Products with selection, and rescoring, as compiled loops, where NumPy cannot fuse; its twins give the same bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recbatch._compiling import CHUNK, STRETCH, TILE_ROWS, tile_shapes, vector_unit, zeros
from recbatch.contracts import Exclusions, Float32s, Int32s, Int64s
from recbatch.index import _loops, _pairs, _rounded
from recbatch.index._rounded import RoundedCandidates
from recbatch.kernels import Kernel, leaf, part

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
    rows, dim = vector_unit().rows, queries.shape[1]
    shapes: tuple[Any, ...] = ()
    if isinstance(packed, RoundedCandidates):
        if packed.in_tiles:
            rows, shapes = TILE_ROWS, (tile_shapes(packed.panels.shape[1]),)
        rounded = _rounded.queries(queries, packed, rows)
        groups: Any = (rounded.bytes, rounded.starts, rounded.steps, rounded.bases)
        panels: Any = packed.panels
        search, slack = _SEARCH_TILES if packed.in_tiles else _SEARCH_BYTES, 2 * rounded.bound
    else:
        none = np.empty((0, 0), np.float32)
        groups = (zeros(-(-len(queries) // rows), dim, rows), none.view(np.int32), none, none)
        _PACK(queries, groups[0])
        search, panels = _SEARCH_FLOATS, packed
    width, room = STRETCH * max(1, _BLOCK_CELLS // (dim * STRETCH)), into.values.shape[1]
    scores = zeros(rows, width + _loops.APART).view(panels.dtype)
    return search(
        *shapes, queries, candidates, panels, *groups, scores, k, ends, excluded, slack, into.values, into.items,
        into.counts, into.floors, into.next_excluded, zeros(1, width), np.empty(room, np.uint64),
    )  # fmt: skip


def scores_of(queries: Float32s, candidates: Float32s, rows: Int64s, columns: Int32s) -> Float32s:
    """The compiled twin of `_finalists.exact_scores`."""
    scores = np.empty(len(rows), dtype=np.float32)
    _SCORES(np.ascontiguousarray(queries), np.ascontiguousarray(candidates), rows, columns, scores)
    return scores


def keys_of(queries: Float32s, candidates: Float32s, survivors: Survivors) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Survivors scored again as sortable keys, in no order: shape (B, most survivors), all bits set where none is.

    Ascending keys are descending scores, then ascending positions: 32 bits of each.
    """
    keys = np.empty((len(queries), int(survivors.counts.max(initial=0))), dtype=np.uint64)
    _KEYS(queries, candidates, survivors.items, survivors.counts, keys)
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
    _KEYS_AMONG(queries, candidates, found, fetched, k, slack, first, end, exclude.items, keys, counts)
    return keys[:, : int(counts.max(initial=0))], counts


def _key_of_pair() -> tuple[Any, Any]:
    from recbatch._vectors import lane_sums

    return leaf(_pairs.dot(lane_sums)), leaf(_pairs.key)


def _whole(products: Any, of: _loops.Measures) -> Any:
    from recbatch import _vectors as vectors

    bound = _loops.bound(vectors.at_least, vectors.ones, vectors.highest, leaf(_loops.ordered), leaf(_loops.unordered))
    exclude, maxima, drop = (leaf(loop) for loop in (_loops.exclude(of.nothing), _loops.maxima, _loops.drop_below))
    keep_best, least, score = leaf(_loops.keep_best(*_key_of_pair())), leaf(of.least), leaf(of.score)
    select = _loops.select(
        exclude,
        maxima,
        part(bound),
        vectors.any_at_least,
        vectors.at_least,
        vectors.first_bit,
        drop,
        keep_best,
        least,
        score,
    )
    return _loops.search(products, part(select), of.nothing)


def _search() -> Any:
    from recbatch import _vectors

    return _whole(leaf(_loops.of_floats(_vectors.products)), _loops.SCORES)


def _search_tiles() -> Any:
    from recbatch import _tiles

    return _loops.in_tiles(_tiles.begin, part(_whole(_tiles.byte_products, _loops.SUMS)), _tiles.end)


def _search_bytes() -> Any:
    from recbatch import _vectors

    return _whole(_vectors.byte_products, _loops.SUMS)


_SEARCH = (
    "int64({shapes}float32[:,::1], float32[:,::1], {words}[:,:,::1], {words}[:,:,::1], int32[:,::1], float32[:,::1],"
    " float32[:,::1], {words}[:,::1], int64, int64[::1], int32[::1], float32[::1], float32[:,::1], int32[:,::1],"
    " int64[::1], float32[::1], int64[::1], float32[:,::1], uint64[::1])"
)
_SEARCH_FLOATS = Kernel("search", _SEARCH.format(shapes="", words="float32"), _search)
_SEARCH_BYTES = Kernel("search_bytes", _SEARCH.format(shapes="", words="int32"), _search_bytes)
_SEARCH_TILES = Kernel("search_tiles", _SEARCH.format(shapes="uint8[::1], ", words="int32"), _search_tiles)
_PAIRS = "float32[:,::1], float32[:,::1]"
_PACK = Kernel("pack", "void(float32[:,::1], float32[:,:,::1])", lambda: _loops.pack)
_SCORES = Kernel(
    "scores", f"void({_PAIRS}, int64[::1], int32[::1], float32[::1])", lambda: _pairs.score(_key_of_pair()[0])
)
_KEYS = Kernel("keys", f"void({_PAIRS}, int32[:,::1], int64[::1], uint64[:,::1])", lambda: _pairs.keys(*_key_of_pair()))
_KEYS_AMONG = Kernel(
    "keys_among",
    f"void({_PAIRS}, int32[:,::1], float32[:,::1], int64, float32[::1], int64[::1], int64[::1], int32[::1],"
    " uint64[:,::1], int64[::1])",
    lambda: _pairs.keys_among(*_key_of_pair()),
)
