"""Evidence: which title of the history has the largest share in each score, read off the towers themselves."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from recbatch import _compiling, _threads
from recbatch.contracts import NO_ITEM, EventFactors, Events, Float32s, Int32s, Int64s
from recbatch.score import _largest
from recbatch.score._looked_at import Kind

_BLOCK_CELLS = 2_000_000
"""Numbers in the event vectors that each core holds at once, padded: 8 MB, and as much again while they are made."""

_BLOCKS_PER_CORE = 4


@dataclass(frozen=True, slots=True)
class Evidence:
    """Finds which event of a history has the largest share in a score.

    A query is a sum of event vectors, so the share of event e in score(user, item) is vector(e) · candidate(item).
    """

    candidates: Float32s
    """Shape (candidates, dim)."""
    kind: Kind | None = None
    """What compiled loops look at first; none: what is fastest on this machine."""
    _tables: list[_largest.Tables] = field(init=False, default_factory=list, repr=False, compare=False)
    """Made when compiled loops are first used."""

    def reasons(self, histories: Events, factors: EventFactors, found: Int32s, names: Int32s) -> Int32s:
        """The title of the event with the largest share in each recommended score, on all cores.

        Shares are multiplied in bytes or in float32, by compiled loops once enough has been done; where rounding could
        decide, those in doubt are compared in float64, pair by pair: the choice does not depend on how users are
        batched.

        Args:
            histories: B users with at least one event each; `items` index the vocabulary.
            factors: what these events add to queries.
            found: shape (B, k): recommended candidates, NO_ITEM for none.
            names: shape (vocabulary,): what the result calls the titles.

        Returns:
            Shape (B, k) int32: of equals the title of the earliest event; NO_ITEM where `found` is.
        """
        result = np.empty_like(found)
        compiled = _compiling.is_due(2.0 * len(histories.items) * found.shape[1] * self.candidates.shape[1])
        one = partial(_largest.largest, self._made(factors)) if compiled else _numpy_block

        def block(users: slice | Int64s) -> None:
            mine, listed = histories.of_users(users), found[users]
            events = one(factors.of_users(histories, users), mine, self.candidates, listed) + mine.offsets[:-1, None]
            result[users] = np.where(listed == NO_ITEM, NO_ITEM, names[mine.items[events]])

        _threads.run([partial(block, users) for users in self._blocks(histories, compiled)])
        return result

    def _blocks(self, histories: Events, compiled: bool) -> list[slice] | list[Int64s]:
        """Compiled, users side by side with about as many events as others; else users alike, who are padded."""
        if compiled:
            parts = np.arange(_BLOCKS_PER_CORE * _threads.workers() + 1) / (_BLOCKS_PER_CORE * _threads.workers())
            bounds = np.searchsorted(histories.offsets, parts * len(histories.items))
            return [slice(*pair) for pair in itertools.pairwise(np.unique(bounds).tolist())]
        by_length = np.argsort(histories.counts, kind="stable")
        return [by_length[part] for part in _blocks(histories.counts[by_length], self.candidates.shape[1])]

    def _made(self, factors: EventFactors) -> _largest.Tables:
        if not self._tables:
            kind = self.kind or Kind.best()
            self._tables.append(_largest.Tables.of(factors.vectors, self.candidates, factors.widths, kind))
        return self._tables[0]


def _numpy_block(factors: EventFactors, mine: Events, candidates: Float32s, found: Int32s) -> Int32s:
    items, vectors = candidates[found, : factors.vectors.shape[1]], factors.of(mine.items)
    unit = vectors.shape[1] * 2.0**-24
    per_length = 4 * unit / (1 - unit)  # how far equal shares may lie apart; see `index.rounding_bound`
    longest = np.maximum.reduceat(_lengths(vectors), mine.offsets[:-1])
    lengths = np.sqrt(np.einsum("ukd,ukd->uk", items, items))
    return _largest_share(vectors, mine.offsets, items, per_length * longest[:, None] * lengths)


def _blocks(counts: Int64s, dim: int) -> list[slice]:
    """Users whose padded event vectors are held at once; counts are ascending."""
    found, start = [], 0
    while start < len(counts):
        reach = counts[start:] * np.arange(1, len(counts) - start + 1) * dim
        end = start + max(1, int(np.searchsorted(reach, _BLOCK_CELLS, side="right")))
        found.append(slice(start, end))
        start = end
    return found


def _largest_share(vectors: Float32s, offsets: Int64s, items: Float32s, slack: Float32s) -> Int32s:
    """Shape (B, k): which of a user's events, counted from the first, adds most to each of the items (B, k, d)."""
    counts = np.diff(offsets)
    place = np.arange(int(counts.max()))
    inside = place < counts[:, None]
    event = offsets[:-1, None] + np.where(inside, place, 0)
    shares = np.matmul(vectors[event], items.transpose(0, 2, 1))
    if not inside.all():
        shares[~inside] = -np.inf
    rivals = shares >= (shares.max(axis=1) - slack)[:, None]
    best = rivals.argmax(axis=1)
    doubtful = np.nonzero(rivals.sum(axis=1, dtype=np.int32) > 1)
    if len(doubtful[0]):
        best[doubtful] = _settled(vectors, offsets, items, rivals, doubtful)
    return np.asarray(best, dtype=np.int32)


def _lengths(vectors: Float32s) -> Float32s:
    return np.asarray(np.sqrt(np.einsum("vd,vd->v", vectors, vectors)))


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
