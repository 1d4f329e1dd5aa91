"""Item-item models: a title's score is the sum of what leads to it from the titles of a history. NumPy only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recbatch.contracts import NO_ITEM, Events, Float32s, Int32s

_TIE = np.float32(1e-6)
"""Share of popularity in the scores of every model: titles that it cannot tell apart stand by popularity."""
_EXACT_TITLES = 5_000
"""Up to here EASE^R inverts in float64; beyond, in float32, at half the memory and time."""
_USERS_AT_A_TIME = 512
_CELLS = 16_000_000
"""Entries of a matrix looked at together: 64 MB."""


@dataclass(frozen=True, slots=True)
class ItemItem:
    """A title's score is the sum of the weights that lead to it from the titles of the history."""

    titles: Int32s
    """Shape (m,): item positions of the matrix' rows and columns, ascending."""
    weights: Float32s
    """Shape (m, m): from a title of the history (row) to a candidate (column)."""
    popularity: Float32s
    """Shape (items,)."""

    def scores(self, histories: Events) -> Float32s:
        """See `Peer.scores`."""
        found = np.tile(by_popularity(self.popularity), (histories.num_users, 1))
        rows = np.full(len(self.popularity), NO_ITEM, np.int32)
        rows[self.titles] = np.arange(len(self.titles), dtype=np.int32)
        known = histories.where(rows[histories.items] != NO_ITEM)
        found[:, self.titles] += _summed(known, rows[known.items], self.weights)
        return found


def by_popularity(popularity: Float32s) -> Float32s:
    """Shape (items,): scores that only break ties, or serve who has no history."""
    return np.asarray(_TIE * popularity / max(1.0, float(popularity.max())), np.float32)


def _summed(histories: Events, rows: Int32s, weights: Float32s) -> Float32s:
    """Shape (users, m): the sum of each history's rows of the matrix, by product or by gathering, as is cheaper."""
    if len(rows) > histories.num_users * len(weights) / 50:
        taken = np.zeros((histories.num_users, len(weights)), np.float32)
        taken[histories.users_of_events(), rows] = 1
        return np.asarray(taken @ weights, np.float32)
    sums = np.zeros((histories.num_users, len(weights)), np.float32)
    for user in np.flatnonzero(histories.counts):
        sums[user] = weights[rows[histories.offsets[user] : histories.offsets[user + 1]]].sum(axis=0)
    return sums


def co_occurrences(pairs: Events, titles: Int32s, num_items: int) -> Float32s:
    """Shape (m, m): users that have both titles; the diagonal counts the users of a title. `pairs` are distinct."""
    rows = np.full(num_items, NO_ITEM, np.int32)
    rows[titles] = np.arange(len(titles), dtype=np.int32)
    shared = np.zeros((len(titles), len(titles)), np.float32)
    for start in range(0, pairs.num_users, _USERS_AT_A_TIME):
        block = pairs.of_users(slice(start, start + _USERS_AT_A_TIME))
        known = rows[block.items] != NO_ITEM
        present, column = np.unique(rows[block.items[known]], return_inverse=True)
        taken = np.zeros((block.num_users, len(present)), np.float32)
        taken[block.users_of_events()[known], column] = 1
        shared[np.ix_(present, present)] += taken.T @ taken
    return shared


def knn_weights(shared: Float32s, k: float, shrinkage: float) -> Float32s:
    """Cosine of two titles' sets of users, shrunk, of each candidate's k nearest titles only.

    weight(i, j) = shared(i, j) / (sqrt(users(i) * users(j)) + shrinkage), as in Ferrari Dacrema, Cremonesi and Jannach
    2019 (RecSys, section 3.2). Neighbours as near as the k-th are all kept.

    Args:
        shared: shape (m, m), see `co_occurrences`.
        k: neighbours per candidate.
        shrinkage: users added to the denominator.

    Returns:
        Shape (m, m): rows are neighbours, columns candidates; 0 on the diagonal.
    """
    roots = np.sqrt(np.diagonal(shared))
    weights: Float32s = (shared / (np.outer(roots, roots) + shrinkage)).astype(np.float32)
    np.fill_diagonal(weights, 0)
    kth = len(weights) - int(k)
    if kth > 0:
        # The matrix is symmetric, so the floors of its rows are those of its columns.
        floor = np.concatenate([np.partition(block, kth, axis=1)[:, kth] for block in _blocks(weights)])
        weights[weights < floor] = 0
    return weights


def _blocks(matrix: Float32s) -> Iterable[Float32s]:
    step = max(1, _CELLS // matrix.shape[1])
    return (matrix[start : start + step] for start in range(0, len(matrix), step))


def ease_weights(shared: Float32s, regularization: float) -> Float32s:
    """EASE^R: the least-squares item-item weights with a zero diagonal, in closed form.

    P = (XᵀX + λ I)⁻¹, weight(i, j) = -P(i, j) / P(j, j), 0 on the diagonal (Steck 2019, WWW, equation 8).

    Args:
        shared: shape (m, m), XᵀX of the binary user-item matrix X.
        regularization: λ.

    Returns:
        Shape (m, m): rows are titles of the history, columns candidates.
    """
    gram: npt.NDArray[Any] = shared.astype(np.float64 if len(shared) <= _EXACT_TITLES else np.float32)
    gram[np.diag_indices_from(gram)] += regularization
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diagonal(inverse)
    np.fill_diagonal(weights, 0)
    return np.asarray(weights, np.float32)
