"""Candidates in leaves, each query past the leaves that suit it best: exact search among those, by the same kernel.

Leaves are found by k-means (Lloyd 1982) and chosen by the query's product with their centroid, as in every inverted
file (Sivic and Zisserman 2003). Queries are put together leaf by leaf, so that a leaf's products are a product of
matrices; a single query would read each candidate by itself. Which leaves a query visits depends on nothing but the
query: results are the same bits however users are batched, and with all leaves visited those of exact search.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from recbatch import _compiling, _threads
from recbatch._compiling import TILE_COLUMNS
from recbatch.contracts import NO_ITEM, Exclusions, Float32s, Index, Int32s, Int64s
from recbatch.index import _compiled
from recbatch.index._finalists import is_excluded, top_k, unpack
from recbatch.index.exact import ExactIndex

FIRST_EFFORT = 4
"""Before anything is measured: 12 leaves, recall@100 .98 with a million titles."""
_LEAVES = 3
"""Leaves visited per unit of effort."""
_ROOM = 2.0
"""And so many times those that a query's exclusions would fill: titles like those that it has seen are near them."""
_SAMPLE = 64
"""Candidates per leaf that leaves are found with."""
_ROUNDS = 6
_SEED = 1
_ROWS = 2_048
"""Queries at a time: together they visit a leaf often enough, and what survives of them stays in the caches."""
_AT_ONCE = 2**16
_PAIRS_AT_ONCE = 2**20


@dataclass(frozen=True, slots=True)
class Leaves:
    """Candidates in the order of their leaves, each leaf from a multiple of `TILE_COLUMNS` places on."""

    candidates: Float32s
    """Shape (places, dim): zeros where no candidate stands."""
    names: Int32s
    """Shape (places,): candidate positions, ascending within a leaf; NO_ITEM where none stands."""
    firsts: Int64s
    """Shape (leaves,): where each begins."""
    lasts: Int64s
    """Shape (leaves,): and ends."""
    leaf_of: Int32s
    """Shape (items,)."""
    place_of: Int32s
    """Shape (items,)."""
    _packed: list[_compiled.Packed] = field(init=False, default_factory=list, repr=False, compare=False)
    """The candidates once more, as the compiled search reads them; made when it is first used."""

    @classmethod
    def of(cls, candidates: Float32s, leaf_of: Int32s, num_leaves: int) -> Leaves:
        """Puts candidates in order.

        Args:
            candidates: shape (items, dim).
            leaf_of: shape (items,): where each belongs.
            num_leaves: how many there are.
        """
        counts = np.bincount(leaf_of, minlength=num_leaves)
        room = -(-counts // TILE_COLUMNS) * TILE_COLUMNS
        firsts = np.cumsum(room) - room
        order = np.argsort(leaf_of, kind="stable").astype(np.int32)
        places = np.repeat(firsts - (np.cumsum(counts) - counts), counts) + np.arange(len(order))
        place_of = np.empty(len(order), dtype=np.int32)
        place_of[order] = places
        placed = np.zeros((int(room.sum()), candidates.shape[1]), dtype=np.float32)
        placed[place_of] = candidates
        names = np.full(len(placed), NO_ITEM, dtype=np.int32)
        names[places] = order
        return cls(placed, names, firsts, firsts + counts, leaf_of, place_of)

    def packed(self, *, in_bytes: bool) -> _compiled.Packed:
        """As products read them, the way that was asked for first."""
        if not self._packed:
            self._packed.append(_compiled.packed(self.candidates, in_bytes=in_bytes))
        return self._packed[0]


@dataclass(frozen=True, slots=True)
class LeafIndex:
    """Exact search in the best leaves of each query. See `contracts.Index`."""

    twin: ExactIndex
    """Exact search over all candidates, for queries whose leaves hold too few."""
    centroids: ExactIndex
    leaves: Leaves
    effort: int = FIRST_EFFORT
    """So many times `_LEAVES` are visited. Doubled on a failed certificate."""
    engine: str = "leaves"
    is_exact: bool = False
    compiled: bool | None = None
    """Which search to use; none: whichever has paid for itself."""

    @classmethod
    def build(cls, candidates: Float32s) -> LeafIndex:
        """Finds as many leaves as candidates share on average, and puts the candidates in their order.

        Args:
            candidates: shape (items, dim), at least 1 row.
        """
        num_leaves = max(1, round(len(candidates) ** 0.5))
        centroids = _means(candidates, num_leaves)
        branch_of = _nearest(centroids, _means(centroids, max(1, round(num_leaves**0.5))))
        centroids = centroids[np.argsort(branch_of, kind="stable")]  # leaves that are visited together stand together
        leaf_of = _nearest(candidates, centroids)
        return cls(ExactIndex(candidates), ExactIndex(centroids), Leaves.of(candidates, leaf_of, num_leaves))

    @property
    def num_items(self) -> int:
        """Rows of the candidate matrix."""
        return self.twin.num_items

    def search(self, queries: Float32s, k: int, exclude: Exclusions) -> tuple[Int32s, Float32s]:
        """The k best candidates in its leaves that are not excluded, on all cores; see `contracts.Index.search`."""
        queries = np.ascontiguousarray(queries)
        positions = np.empty((len(queries), k), dtype=np.int32)
        scores = np.empty((len(queries), k), dtype=np.float32)
        finalists = np.empty(len(queries), dtype=np.int64)
        many = self._visits(np.diff(exclude.offsets))
        chosen, _ = self.centroids.search(queries, int(many.max(initial=1)), Exclusions.none(len(queries)))
        compiled = self.compiled
        if compiled is None:
            share = self.num_items * float(many.sum()) / self.centroids.num_items
            compiled = _compiling.is_due(2.0 * share * queries.shape[1])
        one = self._compiled_rows if compiled else self._numpy_rows
        if compiled:
            self.leaves.packed(in_bytes=self.twin.may_be_bytes())  # before threads ask for it
        order = np.argsort(chosen[:, 0], kind="stable")  # neighbours visit the same leaves

        def block(rows: Int64s) -> None:
            positions[rows], scores[rows], finalists[rows] = one(
                queries[rows], k, exclude.of_queries(rows), chosen[rows], many[rows]
            )

        _threads.run([partial(block, rows) for rows in _parts(order)])
        redo = np.flatnonzero(finalists < np.minimum(k, self.num_items - np.diff(exclude.offsets)))
        if len(redo):
            positions[redo], scores[redo] = self.twin.search(queries[redo], k, exclude.of_queries(redo))
        return positions, scores

    def _visits(self, excluded: Int64s) -> Int64s:
        """Leaves visited by a query with so many exclusions."""
        num_leaves = self.centroids.num_items
        some = np.ceil(_LEAVES * self.effort + _ROOM * excluded * num_leaves / self.num_items)
        return np.clip(some, 1, num_leaves).astype(np.int64)

    def _compiled_rows(
        self, queries: Float32s, k: int, exclude: Exclusions, chosen: Int32s, many: Int64s
    ) -> tuple[Int32s, Float32s, Int64s]:
        leaves = self.leaves
        there = _compiled.excluded_there(chosen, many, exclude, leaves.leaf_of, leaves.place_of, len(leaves.firsts))
        survivors = _compiled.Survivors.none(there.offsets[:-1], k, self.twin.slack(queries))
        _compiled.visit(
            queries,
            leaves.candidates,
            leaves.names,
            leaves.packed(in_bytes=self.twin.may_be_bytes()),
            k,
            firsts=leaves.firsts,
            lasts=leaves.lasts,
            leaves=chosen,
            many=many,
            ends=there.offsets[1:],
            excluded=there.items,
            into=survivors,
        )
        keys = _compiled.keys_of(queries, leaves.candidates, survivors, k, leaves.names)
        return (*unpack(keys, k), survivors.counts)

    def _numpy_rows(
        self, queries: Float32s, k: int, exclude: Exclusions, chosen: Int32s, many: Int64s
    ) -> tuple[Int32s, Float32s, Int64s]:
        leaves, sizes = self.leaves, self.leaves.lasts - self.leaves.firsts
        visited = np.arange(chosen.shape[1]) < many[:, None]
        pairs = np.where(visited, sizes[chosen], 0)
        positions = np.empty((len(queries), k), dtype=np.int32)
        scores = np.empty((len(queries), k), dtype=np.float32)
        finalists = np.empty(len(queries), dtype=np.int64)
        step = max(1, _PAIRS_AT_ONCE // max(1, int(pairs.sum(axis=1).max(initial=0))))
        for start in range(0, len(queries), step):
            some = slice(start, start + step)
            counts = pairs[some].ravel()
            rows = np.repeat(np.arange(len(pairs[some])), pairs[some].sum(axis=1))
            begins = leaves.firsts[chosen[some].ravel()] - (np.cumsum(counts) - counts)
            items = leaves.names[np.repeat(begins, counts) + np.arange(len(rows))]
            open_ = ~is_excluded(exclude.of_queries(some), rows, items, self.num_items)
            positions[some], scores[some], finalists[some] = top_k(
                queries[some], self.twin.candidates, rows[open_], items[open_], k
            )
        return positions, scores, finalists


def _parts(order: Int64s) -> list[Int64s]:
    """Queries in calls of about `_ROWS`, as many for each core."""
    calls = _threads.workers() * max(1, -(-len(order) // (_ROWS * _threads.workers())))
    return [part for part in np.array_split(order, calls) if len(part)]


def _nearest(vectors: Float32s, centroids: Float32s) -> Int32s:
    """The centroid next to each vector: the one with the greatest x·c - |c|²/2. Shape (n,)."""
    lengths = np.einsum("ij,ij->i", centroids, centroids, dtype=np.float64)
    index = ExactIndex(np.column_stack([centroids, (-lengths / 2).astype(np.float32)]))
    found = np.empty(len(vectors), dtype=np.int32)
    for start in range(0, len(vectors), _AT_ONCE):
        some = vectors[start : start + _AT_ONCE]
        queries = np.column_stack([some, np.ones(len(some), dtype=np.float32)])
        found[start : start + len(some)] = index.search(queries, 1, Exclusions.none(len(some)))[0][:, 0]
    return found


def _means(candidates: Float32s, num_leaves: int) -> Float32s:
    """Centroids of a sample of the candidates, shape (num_leaves, dim)."""
    random_ = np.random.default_rng(_SEED)
    count = min(len(candidates), _SAMPLE * num_leaves)
    sample = candidates[np.sort(random_.choice(len(candidates), count, replace=False))]
    means = sample[random_.choice(count, num_leaves, replace=False)]
    for _ in range(_ROUNDS):
        nearest = _nearest(sample, means)
        counts = np.bincount(nearest, minlength=num_leaves)
        firsts, there = np.cumsum(counts) - counts, counts > 0  # a leaf that nobody is next to stays where it is
        sums = np.add.reduceat(sample[np.argsort(nearest, kind="stable")], firsts[there], axis=0, dtype=np.float64)
        means[there] = (sums / counts[there, None]).astype(np.float32)
    return means


_TYPE_CHECK: type[Index] = LeafIndex
