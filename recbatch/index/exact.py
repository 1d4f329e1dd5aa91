"""Exact search: a blocked matrix product with the selection fused behind it. The oracle of every test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbatch.contracts import Exclusions, Float32s, Index, Int32s, Int64s
from recbatch.index._finalists import rounding_bound, subset, top_k

_GROUP = 16
"""Scores per group: the maximum of a group costs one pass, and only the k best groups are looked into."""
_BLOCK_CELLS = 16_000_000
"""Scores held at once: 64 MB."""


@dataclass(frozen=True, slots=True)
class ExactIndex:
    """Every candidate is looked at. See `contracts.Index`."""

    candidates: Float32s
    engine: str = "exact"
    is_exact: bool = True

    @property
    def num_items(self) -> int:
        """Rows of the candidate matrix."""
        return len(self.candidates)

    def search(self, queries: Float32s, k: int, exclude: Exclusions) -> tuple[Int32s, Float32s]:
        """The k best candidates that are not excluded; see `contracts.Index.search`."""
        step = max(1, _BLOCK_CELLS // max(1, self.num_items))
        if len(queries) <= step:
            return self._search_block(queries, k, exclude)
        starts = range(0, len(queries), step)
        blocks = [
            self._search_block(
                queries[start : start + step], k, subset(exclude, np.arange(start, min(start + step, len(queries))))
            )
            for start in starts
        ]
        return np.concatenate([block[0] for block in blocks]), np.concatenate([block[1] for block in blocks])

    def _search_block(self, queries: Float32s, k: int, exclude: Exclusions) -> tuple[Int32s, Float32s]:
        groups = -(-self.num_items // _GROUP)
        scores = np.full((len(queries), groups * _GROUP), -np.inf, dtype=np.float32)
        np.matmul(queries, self.candidates.T, out=scores[:, : self.num_items])
        excluded_rows = np.repeat(np.arange(len(queries)), np.diff(exclude.offsets))
        scores[excluded_rows, exclude.items] = -np.inf
        rows, columns = _finalists(scores, k, rounding_bound(queries, self.candidates))
        positions, best, _ = top_k(queries, self.candidates, rows, columns, k)
        return positions, best


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
