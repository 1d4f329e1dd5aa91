"""ScaNN through its own NumPy API: brute force, asymmetric hashing, tree + hashing + reordering.

What ScaNN returns are finalists only: padding and excluded candidates are dropped, the rest is scored again. A query
for which fewer are left than there should be is answered by the exact twin (padding can never reach a table).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from recbatch import _compiling, _tensorflow, _threads
from recbatch.contracts import NO_ITEM, Exclusions, Float32s, Index, Int32s, Int64s
from recbatch.index import _compiled
from recbatch.index._finalists import is_excluded, top_k, unpack
from recbatch.index.exact import ExactIndex
from recbatch.index.leaves import FIRST_EFFORT

_MARGIN = 16
"""Finalists fetched beyond k, so that rounding inside ScaNN cannot push a true neighbour out."""
_LEAVES = 7
"""Leaves visited per unit of effort: recall@100 .998 at effort 4 with 50,000 titles, .991 with a million."""
_ROWS = 256
"""Queries whose finalists one core looks at in one go."""
_NUMPY_FACTOR = 1_000
"""How much longer NumPy takes for a multiplication and addition of a finalist than for one of a matrix product: a night
of 20,000 users earns back the compilation."""
_HASH_DIMENSIONS = 2
_ANISOTROPY = 0.2  # both as in ScaNN's own examples for angular and dot-product data


@dataclass(frozen=True, slots=True)
class ScannIndex:
    """A ScaNN searcher with its exact twin. See `contracts.Index`."""

    candidates: Float32s
    twin: ExactIndex
    searcher: Any
    engine: str
    num_leaves: int
    effort: int = FIRST_EFFORT
    """Half as many hashed candidates are scored again per finalist wanted, and `_LEAVES` as many leaves are visited.
    Doubled on a failed certificate."""

    @classmethod
    def build(cls, candidates: Float32s, engine: str) -> ScannIndex:
        """Partitions and quantises the candidates.

        Args:
            candidates: shape (items, dim), at least 100 rows.
            engine: `brute`, `ah` or `tree`.

        Returns:
            The index.
        """
        items = len(candidates)
        leaves = int(np.sqrt(items)) if engine == "tree" else 0
        builder = _tensorflow.scann().builder(candidates, 10, "dot_product")
        if engine == "tree":
            builder = builder.tree(
                num_leaves=leaves, num_leaves_to_search=max(1, leaves // 20), training_sample_size=min(items, 250_000)
            )
        if engine == "brute":
            builder = builder.score_brute_force()
        else:
            builder = builder.score_ah(_HASH_DIMENSIONS, anisotropic_quantization_threshold=_ANISOTROPY).reorder(100)
        return cls(candidates, ExactIndex(candidates), builder.build(), engine, leaves)

    @property
    def num_items(self) -> int:
        """Rows of the candidate matrix."""
        return len(self.candidates)

    @property
    def is_exact(self) -> bool:
        """True for brute force: what rounding leaves open is settled by the exact twin."""
        return self.engine == "brute"

    def leaves_for(self, reorder: int) -> int:
        """Leaves visited: as many as the effort says, and room for twice the candidates to be scored again."""
        room = 2 * reorder * self.num_leaves / self.num_items
        return int(np.clip(np.ceil(_LEAVES * self.effort + room), 1, self.num_leaves))

    def search(self, queries: Float32s, k: int, exclude: Exclusions) -> tuple[Int32s, Float32s]:
        """The k best candidates that are not excluded; see `contracts.Index.search`.

        Queries are bucketed by the number of their exclusions (powers of two), so that a heavy user does not make
        everybody's search wider.
        """
        queries = np.ascontiguousarray(queries)
        positions = np.full((len(queries), k), NO_ITEM, dtype=np.int32)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        excluded = np.diff(exclude.offsets)
        bucket = np.ceil(np.log2(np.maximum(excluded, 1))).astype(np.int64)
        for level in np.unique(bucket):
            rows = np.flatnonzero(bucket == level)
            wanted = min(self.num_items, k + int(excluded[rows].max()) + _MARGIN)
            positions[rows], scores[rows] = self._search_bucket(queries[rows], k, exclude.of_queries(rows), wanted)
        return positions, scores

    def _search_bucket(self, queries: Float32s, k: int, exclude: Exclusions, wanted: int) -> tuple[Int32s, Float32s]:
        found, fetched = self._fetch(queries, wanted)
        compiled = _compiling.is_due(_NUMPY_FACTOR * found.size * queries.shape[1])
        best = self._best_compiled if compiled else self._best
        positions, scores, finalists = best(queries, found, fetched, k, exclude)
        left = self.num_items - np.diff(exclude.offsets)
        doubtful = finalists < np.minimum(k, left)
        if self.is_exact and wanted < self.num_items:
            # The worst fetched score must lie clearly below the worst kept one, or an equal one may be missing.
            slack = self.twin.slack(queries)
            doubtful |= np.nan_to_num(fetched, nan=np.inf).min(axis=1) >= scores[:, -1] - slack
        redo = np.flatnonzero(doubtful)
        if len(redo):
            positions[redo], scores[redo] = self.twin.search(queries[redo], k, exclude.of_queries(redo))
        return positions, scores

    def _best(
        self, queries: Float32s, found: Int32s, fetched: Float32s, k: int, exclude: Exclusions
    ) -> tuple[Int32s, Float32s, Int64s]:
        rows, columns = np.nonzero(np.isfinite(fetched))
        items = found[rows, columns]
        open_ = ~is_excluded(exclude, rows, items, self.num_items)
        return top_k(queries, self.candidates, rows[open_], items[open_], k)

    def _best_compiled(
        self, queries: Float32s, found: Int32s, fetched: Float32s, k: int, exclude: Exclusions
    ) -> tuple[Int32s, Float32s, Int64s]:
        positions = np.empty((len(queries), k), dtype=np.int32)
        scores = np.empty((len(queries), k), dtype=np.float32)
        finalists = np.empty(len(queries), dtype=np.int64)
        slack = self.twin.slack(queries)

        def block(start: int) -> None:
            part = slice(start, start + _ROWS)
            own = Exclusions(exclude.offsets[start : start + _ROWS + 1], exclude.items)
            keys, finalists[part] = _compiled.keys_among(
                queries[part], self.twin.candidates, found[part], fetched[part], k, slack[part], own
            )
            positions[part], scores[part] = unpack(keys, k)

        _threads.run([partial(block, start) for start in range(0, len(queries), _ROWS)])
        return positions, scores, finalists

    def _fetch(self, queries: Float32s, wanted: int) -> tuple[Int32s, Float32s]:
        reorder = min(self.num_items, max(wanted, wanted * self.effort // 2))
        options: dict[str, int] = {"final_num_neighbors": wanted}
        if self.engine != "brute":
            options["pre_reorder_num_neighbors"] = reorder
        if self.engine == "tree":
            options["leaves_to_search"] = self.leaves_for(reorder)
        found, fetched = self.searcher.search_batched_parallel(queries, **options)
        return found.astype(np.int32, copy=False), fetched


_TYPE_CHECK: type[Index] = ScannIndex
