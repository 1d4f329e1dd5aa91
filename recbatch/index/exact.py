"""Exact search: a blocked matrix product with the selection fused behind it. The oracle of every test.

Three searches give the same bits: NumPy's, and two compiled ones (`_compiled`) that take over once enough work has been
done to pay for compiling them: over bytes where the machine multiplies them and rounding tells scores apart, else over
float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from recbatch import _compiling, _threads
from recbatch.contracts import Exclusions, Float32s, Index, Int32s, Int64s
from recbatch.index import _compiled
from recbatch.index._finalists import rounding_bound, top_k, unpack
from recbatch.index._rounded import RoundedCandidates, length_of_longest

_GROUP = 16
"""NumPy's selection: the maximum of a group costs one pass, and only the k best groups are looked into."""
_BLOCK_CELLS = 2**23
"""Scores held at once by each worker in NumPy's selection: 32 MiB."""
_MOST_ROWS = 1_024
_COMPILED_ROWS = 240
"""Queries per call of the compiled search at most: a multiple of what it scores at once."""
_FEW, _OF_FEW = 4_096, 4
"""Of few candidates so many times the queries: what a call takes by itself is the larger part."""
_AT_ONCE = 48
"""A multiple of the queries that the compiled search scores at once on any machine."""
_TOO_MANY = 2
"""So many times k scores of a query told apart one by one, on the way: bytes are too coarse for these candidates."""
_MOST_COLUMNS = 2**24 // (127 * 255)
"""Whose bytes' products add up to less than 2^24."""
_PLAIN_ROWS, _PLAIN_WIDTH = 256, 2_304
"""Of `plain_products`: 2.4 MB of scores."""


@dataclass(frozen=True, slots=True)
class ExactIndex:
    """Every candidate is looked at. See `contracts.Index`."""

    candidates: Float32s
    engine: str = "exact"
    is_exact: bool = True
    compiled: bool | None = None
    """Which search to use; none: whichever has paid for itself."""
    in_bytes: bool | None = None
    """Whether the compiled search looks at bytes first; none: where that is faster."""
    _longest: float = field(init=False, default=0.0)
    _packed: list[_compiled.Packed] = field(init=False, default_factory=list, repr=False, compare=False)
    """The candidates once more, as the compiled search reads them, the last way last; made when it is first used."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", np.ascontiguousarray(self.candidates))
        object.__setattr__(self, "_longest", length_of_longest(self.candidates))

    @property
    def num_items(self) -> int:
        """Rows of the candidate matrix."""
        return len(self.candidates)

    def search(self, queries: Float32s, k: int, exclude: Exclusions) -> tuple[Int32s, Float32s]:
        """The k best candidates that are not excluded, on all cores; see `contracts.Index.search`."""
        queries = np.ascontiguousarray(queries)
        positions = np.empty((len(queries), k), dtype=np.int32)
        scores = np.empty((len(queries), k), dtype=np.float32)
        compiled = self.compiled
        if compiled is None:
            compiled = _compiling.is_due(2.0 * len(queries) * self.candidates.size)
        if compiled and not self._packed:
            in_bytes = self.may_be_bytes() if self.in_bytes is None else self.in_bytes
            self._packed.append(_compiled.packed(self.candidates, in_bytes=in_bytes))
        told_apart: list[int] = []
        one = partial(self._compiled_block, told_apart) if compiled else self._numpy_block
        most = _COMPILED_ROWS * (_OF_FEW if self.num_items <= _FEW else 1)
        step = _even(len(queries), most) if compiled else self._rows_per_block()

        def block(start: int) -> None:
            rows = slice(start, start + step)
            positions[rows], scores[rows] = one(queries[rows], k, exclude.of_queries(rows))

        _threads.run([partial(block, start) for start in range(0, len(queries), step)])
        too_many = self.in_bytes is None and sum(told_apart) > _TOO_MANY * k * len(queries)
        if too_many and isinstance(self._packed[-1], RoundedCandidates):
            self._packed.append(_compiled.packed(self.candidates, in_bytes=False))
        return positions, scores

    def slack(self, queries: Float32s) -> Float32s:
        """How far a score may lie below the k-th best and still be among the k best in another order: shape (B,)."""
        return 2 * rounding_bound(queries, self._longest)

    def may_be_bytes(self) -> bool:
        """Whether bytes may come first: sums of their products must be whole numbers in float32."""
        return _compiling.vector_unit().has_bytes and self.candidates.shape[1] <= _MOST_COLUMNS

    def _rows_per_block(self) -> int:
        return int(np.clip(_BLOCK_CELLS // max(1, self.num_items), 1, _MOST_ROWS))

    def _compiled_block(
        self, told_apart: list[int], queries: Float32s, k: int, exclude: Exclusions
    ) -> tuple[Int32s, Float32s]:
        survivors = _compiled.Survivors.none(exclude.offsets[:-1], k, self.slack(queries))
        told_apart.append(
            _compiled.search(
                queries,
                self.candidates,
                self._packed[-1],
                k,
                ends=exclude.offsets[1:],
                excluded=exclude.items,
                into=survivors,
            )
        )
        return unpack(_compiled.keys_of(queries, self.candidates, survivors, k), k)

    def _numpy_block(self, queries: Float32s, k: int, exclude: Exclusions) -> tuple[Int32s, Float32s]:
        groups = -(-self.num_items // _GROUP)
        scores = _threads.scratch(len(queries), groups * _GROUP)
        np.matmul(queries, self.candidates.T, out=scores[:, : self.num_items])
        scores[:, self.num_items :] = -np.inf
        excluded_rows = np.repeat(np.arange(len(queries)), np.diff(exclude.offsets))
        scores[excluded_rows, exclude.items] = -np.inf
        rows, columns = _finalists(scores, k, self.slack(queries))
        positions, best, _ = top_k(queries, self.candidates, rows, columns, k)
        return positions, best


def plain_products(index: ExactIndex, queries: Float32s) -> None:
    """The matrix products of a search by NumPy's BLAS on the same threads, written out and forgotten."""

    def block(start: int) -> None:
        some = queries[start : start + _PLAIN_ROWS]
        for first in range(0, index.num_items, _PLAIN_WIDTH):
            part = index.candidates[first : first + _PLAIN_WIDTH]
            np.matmul(some, part.T, out=_threads.scratch(len(some), len(part)))

    _threads.run([partial(block, start) for start in range(0, len(queries), _PLAIN_ROWS)])


def _even(queries: int, most: int) -> int:
    """Queries per call, at most so many, such that all cores end at about the same time."""
    calls = _threads.workers() * max(1, -(-queries // (most * _threads.workers())))
    return max(1, -(-queries // (calls * _AT_ONCE))) * _AT_ONCE


def _finalists(scores: Float32s, k: int, slack: Float32s) -> tuple[Int64s, Int32s]:
    """Every pair whose score may belong to the k best of its row, rows ascending.

    The k-th best group maximum is at most the k-th best score, so nothing below it by more than the rounding slack can
    be among the k best. Groups are strided (column j, j + groups, …): their maxima are 15 vector operations.
    """
    groups = scores.shape[1] // _GROUP
    maxima = scores.reshape(len(scores), _GROUP, groups).max(axis=1)
    if k < groups:
        floor = np.partition(maxima, groups - k, axis=1)[:, groups - k] - slack
    else:
        floor = np.full(len(scores), -np.inf, dtype=np.float32)
    floor = np.maximum(floor, np.float32(np.finfo(np.float32).min))  # -inf marks what is excluded
    row_of_group, group = np.nonzero(maxima >= floor[:, None])
    columns = group[:, None] + np.arange(_GROUP) * groups
    good = scores[row_of_group[:, None], columns] >= floor[row_of_group][:, None]
    rows = np.broadcast_to(row_of_group[:, None], columns.shape)[good]
    return rows, columns[good].astype(np.int32)


_TYPE_CHECK: type[Index] = ExactIndex
