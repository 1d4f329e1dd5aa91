"""What a SavedModel needs of a run, as plain arrays: candidates, what stands behind them, users and histories."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recbatch.contracts import NO_ITEM, Bools, Exclusions, Float32s, Int32s, Popular
from recbatch.model import History

INDEXES = ("brute", "scann")
"""Layers of TensorFlow Recommenders that a SavedModel can search with."""
FORMS = ("user", "history")
"""What a SavedModel is asked with: a user id, or the item ids of a history."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """Lists by popularity: row 0 stands behind the model's own titles, row s + 1 is all that segment s gets.

    Ranks are columns; row 0 holds titles that the model does not know, so nothing is listed twice.
    """

    positions: Int32s
    """Shape (segments + 1, items): item positions, NO_ITEM behind the last one."""
    scores: Float32s
    """Shape (segments + 1, items): expected share of tomorrow's events."""
    is_segment: Bools
    """Shape (segments + 1,): whether the row's source is `segment`, else `popular`."""

    @classmethod
    def of(cls, popular: Popular, known: Bools, withdrawn: Bools) -> Ladder:
        """The ladder of a run.

        Args:
            popular: the run's.
            known: shape (items,): titles that the model can score.
            withdrawn: shape (items,): titles that nobody may get.
        """
        order = np.concatenate([popular.order[:1], popular.order])
        scores = np.concatenate([popular.scores[:1], popular.scores])
        kept = ~withdrawn[order]
        kept[0] &= ~known[order[0]]
        first = np.argsort(~kept, axis=1, kind="stable")  # what is kept moves to the front, in its order
        kept = np.take_along_axis(kept, first, axis=1)
        positions = np.where(kept, np.take_along_axis(order, first, axis=1), NO_ITEM).astype(np.int32)
        return cls(positions, np.take_along_axis(scores, first, axis=1), np.arange(len(order)) > 1)


@dataclass(frozen=True, slots=True)
class Members:
    """The run's users; one row more than there are ids, the last one is everybody else's."""

    ids: pa.StringArray
    queries: Float32s
    """Shape (users + 1, dim)."""
    by_model: Bools
    """Shape (users + 1,): whether the query counts; without one the user gets a list by popularity."""
    segments: Int32s
    """Shape (users + 1,): segment of the user, 0 for all."""
    seen: Exclusions
    """users + 1 rows: item positions that must not come back."""


@dataclass(frozen=True, slots=True)
class Histories:
    """How the item ids of a history become a query; see `model.HistoryTowers`."""

    ids: pa.StringArray
    """Every id of a title, those that were merged into another included."""
    positions: Int32s
    """Shape (ids,): the item position of each."""
    rows: Int32s
    """Shape (items,): the row of `vectors`, NO_ITEM where the model does not know the title."""
    vectors: Float32s
    """Shape (vocabulary, dim - 1)."""
    widths: tuple[int, ...]
    readings: tuple[History, ...]
    query_bias: Float32s
    """Shape (dim,)."""
    exclude_seen: bool


@dataclass(frozen=True, slots=True)
class ServingTables:
    """All of it. Item positions are those of the run's dataset, in the order that breaks ties."""

    item_ids: pa.StringArray
    titles: pa.StringArray
    candidates: Float32s
    """Shape (candidates, dim), as they were scored on the night; the last column is the bias."""
    positions: Int32s
    """Shape (candidates,): item position of each, ascending."""
    ladder: Ladder
    members: Members
    histories: Histories
