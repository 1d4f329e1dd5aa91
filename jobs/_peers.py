"""What a user would pick instead of recbatch: five recommenders, each with a small grid to choose its settings from.

All of them answer for a history, so users that training did not see are served too. Only iALS needs a library.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from recbatch.contracts import DAY_MICROSECONDS, NO_ITEM, NO_TIME, Events, Float32s, Int32s, Lists

from ._item_item import ItemItem, by_popularity, co_occurrences, ease_weights, knn_weights

Settings = dict[str, float]
"""What a peer is fitted with, by name."""

GRIDS: dict[str, tuple[Settings, ...]] = {
    "popularity": ({},),
    "recent": tuple({"half_life_days": days} for days in (0.5, 1, 2, 4, 7, 14, 30, 60, 180)),
    "itemknn": tuple({"k": k, "shrinkage": shrinkage} for k in (50, 100, 200, 500) for shrinkage in (0, 10, 50, 200)),
    "ials": tuple(
        {"factors": factors, "regularization": regularization, "alpha": alpha}
        for factors in (16, 128)
        for regularization in (10, 30, 100)
        for alpha in (1, 2, 5)
    ),
    "ease": tuple({"regularization": regularization} for regularization in (30, 100, 300, 1000, 3000)),
}
"""Peer → the settings that are tried, on a validation split within what it may learn from."""

_MOST_TITLES = 6_000
"""Titles in an item-item matrix, the most popular first: 144 MB in float32; others stand by popularity."""
_USERS_AT_A_TIME = 512
_IALS_ITERATIONS = 15
"""The library's default."""


class Peer(Protocol):
    """A fitted recommender."""

    def scores(self, histories: Events) -> Float32s:
        """Shape (users, items): what each user would like, higher is better; by popularity for an empty history."""


def available(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Those of some peers that can run here, and a line with the cure for each that cannot."""
    missing = importlib.util.find_spec("implicit") is None
    kept = [name for name in names if name != "ials" or not missing]
    lost = "ials is left out: the library `implicit` is not installed; pip install 'recbatch[bench]'"
    return kept, [lost] if "ials" in names and missing else []


def choose(name: str, quality: Callable[[Settings], float]) -> Settings:
    """The settings of a peer's grid with the highest quality, the first of equals; not asked where there is one."""
    grid = GRIDS[name]
    return grid[0] if len(grid) == 1 else max(grid, key=quality)


class Workshop:
    """Fits peers on the same events; what several of them need is made once."""

    def __init__(self, events: Events, num_items: int) -> None:
        """`events` is all that the peers may learn from; `num_items` candidates are ranked."""
        self._events, self._num_items = events, num_items
        self._pairs = distinct(events)
        self._popularity = np.bincount(self._pairs.items, minlength=num_items).astype(np.float32)

    def fit(self, name: str, settings: Settings, seed: int) -> Peer:
        """A fitted peer.

        Args:
            name: a key of `GRIDS`.
            settings: an entry of its grid.
            seed: of iALS' first factors; the others know no chance.
        """
        if name == "popularity":
            return Popularity(self._popularity)
        if name == "recent":
            return Popularity(recent_counts(self._events, self._num_items, settings["half_life_days"]))
        if name == "ials":
            return _fit_ials(self._pairs, self._popularity, settings, seed)
        weights = knn_weights(self._shared, **settings) if name == "itemknn" else ease_weights(self._shared, **settings)
        return ItemItem(self._titles, weights, self._popularity)

    @functools.cached_property
    def _titles(self) -> Int32s:
        """The titles with events, the most popular where there are too many; ascending."""
        present = np.flatnonzero(self._popularity)
        best = present[np.argsort(-self._popularity[present], kind="stable")[:_MOST_TITLES]]
        return np.sort(best).astype(np.int32)

    @functools.cached_property
    def _shared(self) -> Float32s:
        return co_occurrences(self._pairs, self._titles, self._num_items)


def rank(peer: Peer, histories: Events, users: Int32s, length: int) -> Lists:
    """Full ranking of the catalogue for some users, seen titles excluded, ties by position.

    Args:
        peer: a fitted peer.
        histories: of all users; what they have seen.
        users: shape (B,): whose lists are wanted.
        length: rows per user.

    Returns:
        Lists in the order of `users`; what only recbatch's lists have (source, reason) is left blank.
    """
    positions, scores = [np.empty((0, length), np.int32)], [np.empty((0, length), np.float32)]
    step = _USERS_AT_A_TIME
    for start in range(0, len(users), step):
        mine = distinct(histories.of_users(users[start : start + step]))
        found = peer.scores(mine)
        found[mine.users_of_events(), mine.items] = -np.inf
        block_positions, block_scores = top(found, length)
        positions.append(block_positions)
        scores.append(block_scores)
    ranked = np.concatenate(positions)
    return Lists(
        users=users,
        positions=ranked,
        scores=np.concatenate(scores),
        sources=np.zeros(ranked.shape, np.int8),
        because=np.full(ranked.shape, NO_ITEM, np.int32),
    )


def top(scores: Float32s, k: int) -> tuple[Int32s, Float32s]:
    """The k best columns of each row by score, then position; NO_ITEM and -inf behind the last finite score.

    Args:
        scores: shape (B, items); -inf where a title is excluded.
        k: how many per row.

    Returns:
        Positions (B, k) and scores (B, k).
    """
    kth = max(scores.shape[1] - k, 0)
    floor = np.partition(scores, kth, axis=1)[:, kth, None]
    row, column = np.nonzero((scores >= floor) & (scores > -np.inf))
    found = scores[row, column]
    order = np.lexsort((column, -found, row))
    row, column, found = row[order], column[order], found[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    kept = place < k
    positions, best = np.full((len(scores), k), NO_ITEM, np.int32), np.full((len(scores), k), -np.inf, np.float32)
    positions[row[kept], place[kept]] = column[kept]
    best[row[kept], place[kept]] = found[kept]
    return positions, best


def distinct(events: Events) -> Events:
    """Every (user, item) once: weights added up, the newest time kept; items ascending within a user."""
    width = int(events.items.max(initial=0)) + 1
    keys = events.users_of_events().astype(np.int64) * width + events.items
    order = np.argsort(keys, kind="stable")  # a user's events stand in time order: the last of equals is the newest
    last = np.flatnonzero(np.diff(keys[order], append=-1))
    first = np.concatenate([[0], last[:-1] + 1]).astype(np.int64)
    newest = order[last]
    weights = np.add.reduceat(events.weights[order], first) if len(last) else events.weights
    offsets = np.searchsorted(keys[newest], np.arange(events.num_users + 1, dtype=np.int64) * width)
    return Events(
        offsets.astype(np.int64), events.items[newest], events.occurred_at[newest], weights, events.ratings[newest]
    )


@dataclass(frozen=True, slots=True)
class Popularity:
    """The same order for everybody."""

    counts: Float32s
    """Shape (items,)."""

    def scores(self, histories: Events) -> Float32s:
        """See `Peer.scores`."""
        return np.tile(self.counts, (histories.num_users, 1))


def recent_counts(events: Events, num_items: int, half_life_days: float) -> Float32s:
    """Shape (items,): events, each halved for every half-life that it is older than the newest one."""
    newest = events.occurred_at.max(initial=NO_TIME)
    age_days = np.where(events.occurred_at == NO_TIME, 0, newest - events.occurred_at) / DAY_MICROSECONDS
    return np.bincount(events.items, 2.0 ** (-age_days / half_life_days), num_items).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Factors:
    """iALS: user factors are solved for the history at hand."""

    model: Any
    """A fitted `implicit.cpu.als.AlternatingLeastSquares`."""
    popularity: Float32s

    def scores(self, histories: Events) -> Float32s:
        """See `Peer.scores`."""
        users = np.arange(histories.num_users)
        with _one_blas_thread():
            factors = self.model.recalculate_user(users, _matrix(histories, len(self.popularity)))
        return np.asarray(factors @ self.model.item_factors.T, np.float32) + by_popularity(self.popularity)


def _fit_ials(pairs: Events, popularity: Float32s, settings: Settings, seed: int) -> Factors:
    als: Any = importlib.import_module("implicit.cpu.als")
    with _one_blas_thread():
        model = als.AlternatingLeastSquares(
            factors=int(settings["factors"]),
            regularization=settings["regularization"],
            alpha=settings["alpha"],
            iterations=_IALS_ITERATIONS,
            random_state=seed,
        )
        model.fit(_matrix(pairs, len(popularity)), show_progress=False)
    return Factors(model, popularity)


def _matrix(pairs: Events, num_items: int) -> Any:
    sparse: Any = importlib.import_module("scipy.sparse")
    shape = (pairs.num_users, num_items)
    return sparse.csr_matrix((pairs.weights, pairs.items, pairs.offsets.astype(np.int32)), shape=shape)


def _one_blas_thread() -> Any:
    """Implicit runs threads of its own and warns where the BLAS below NumPy does too."""
    return importlib.import_module("threadpoolctl").threadpool_limits(1, "blas")


_FITTED: tuple[type[Peer], ...] = (Popularity, ItemItem, Factors)
