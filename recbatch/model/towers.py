"""Trained towers in plain NumPy: what scoring uses, and what a model folder holds.

    query(user)     = query_bias + Σ over the history's events of weight(event) · history[item(event)]
    score(user, i)  = query(user) · candidates[i]

One or more *parts* stand side by side in the columns, each with its own `History`; a last column carries the
candidates' scalar biases (the query holds a constant 1 there). Scores of parts add up, so a weighted sum of models is
again a pair of towers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recbatch.contracts import Events, Float32s
from recbatch.model.weights import History

_CHUNK_BYTES = 4 << 20
"""Queries summed at a time: stays in the processor's cache; three such buffers live at once."""


@dataclass(frozen=True, slots=True)
class Part:
    """The weights of one trained model over a vocabulary of V titles."""

    history: Float32s
    """Shape (V, d): what a title adds to a query."""
    candidates: Float32s
    """Shape (V, d)."""
    candidate_bias: Float32s
    """Shape (V,)."""
    query_bias: Float32s
    """Shape (d,): the query of an empty history."""
    reading: History
    """How histories are weighted."""


@dataclass(frozen=True, slots=True)
class HistoryTowers:
    """The `contracts.Towers` of a history model. `concatenate` makes them; `dim` is the width of all parts plus 1."""

    item_ids: pa.StringArray
    """The vocabulary, in the order of the tables' rows."""
    history: Float32s
    """Shape (vocabulary, dim - 1): what one event of weight 1 adds to a query; its bias column would be 0."""
    candidates: Float32s
    """Shape (vocabulary, dim); the last column is the scalar bias."""
    query_bias: Float32s
    """Shape (dim,); the last entry is 1."""
    widths: tuple[int, ...]
    """Columns of each part, in order."""
    readings: tuple[History, ...]
    """How each part weighs histories."""
    returning_weight: float = 1.0
    """See `contracts.Towers`."""

    @property
    def dim(self) -> int:
        """Length of a query and of a candidate, biases included."""
        return len(self.query_bias)

    def event_vectors(self, histories: Events) -> Float32s:
        """What each event adds to its user's query.

        Args:
            histories: `items` index the vocabulary.

        Returns:
            Shape (events, dim); zero for events beyond a part's max_history, and in the bias column.
        """
        vectors = np.zeros((len(histories.items), self.dim), np.float32)
        vectors[:, :-1] = self.history[histories.items]
        self._scale(vectors, [reading.event_weights(histories) for reading in self.readings])
        return vectors

    def embed(self, histories: Events) -> Float32s:
        """The queries of some users: `query_bias` plus the sum of their event vectors, from the newest event back.

        Events are added one age at a time, element by element, so that the bits of a query do not depend on which users
        stand beside it.

        Args:
            histories: `items` index the vocabulary.

        Returns:
            Shape (users, dim); `query_bias` where a history is empty. Besides the result, about 16 MB are held.
        """
        queries = np.empty((histories.num_users, self.dim), np.float32)
        step = max(1, _CHUNK_BYTES // (4 * self.dim))
        for start in range(0, histories.num_users, step):
            users = slice(start, min(start + step, histories.num_users))
            queries[users, :-1] = self._sum(histories.of_users(users))
            queries[users, :-1] += self.query_bias[:-1]
        queries[:, -1] = self.query_bias[-1]
        return queries

    def to_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Everything but the vocabulary as named arrays, for `from_arrays`."""
        return {
            "history": self.history,
            "candidates": self.candidates,
            "query_bias": self.query_bias,
            "widths": np.array(self.widths, np.int32),
            "half_life_events": np.array([reading.half_life_events for reading in self.readings], np.float64),
            "returning_weight": np.array(self.returning_weight, np.float64),
            "max_history": np.array([reading.max_history for reading in self.readings], np.int32),
        }

    @classmethod
    def from_arrays(cls, item_ids: pa.StringArray, arrays: dict[str, npt.NDArray[np.generic]]) -> HistoryTowers:
        """The inverse of `to_arrays`."""
        lives = np.asarray(arrays["half_life_events"], np.float64).tolist()
        lengths = np.asarray(arrays["max_history"], np.int32).tolist()
        return cls(
            item_ids,
            np.asarray(arrays["history"], np.float32),
            np.asarray(arrays["candidates"], np.float32),
            np.asarray(arrays["query_bias"], np.float32),
            tuple(np.asarray(arrays["widths"], np.int32).tolist()),
            tuple(History(life, length) for life, length in zip(lives, lengths, strict=True)),
            float(arrays["returning_weight"]),
        )

    def _sum(self, histories: Events) -> Float32s:
        """Shape (users, dim - 1): Σ event vectors. Longest histories go first: users left at an age are a prefix."""
        longest_first = np.argsort(-histories.counts, kind="stable")
        lengths = histories.counts[longest_first]
        newest = histories.offsets[1:][longest_first] - 1
        weights = [reading.event_weights(histories) for reading in self.readings]
        reach = max(reading.max_history for reading in self.readings)
        sums = np.zeros((histories.num_users, self.dim - 1), np.float32)
        vectors = np.empty_like(sums)
        for age in range(min(int(lengths.max(initial=0)), reach)):
            left = int(np.searchsorted(-lengths, -age))
            events = newest[:left] - age
            part = vectors[:left]
            np.take(self.history, histories.items[events], axis=0, out=part, mode="clip")
            self._scale(part, [weight[events] for weight in weights])
            sums[:left] += part
        back = np.empty_like(longest_first)
        back[longest_first] = np.arange(len(back))
        return sums[back]

    def _scale(self, vectors: Float32s, weights: list[Float32s]) -> None:
        start = 0
        for width, weight in zip(self.widths, weights, strict=True):
            vectors[:, start : start + width] *= weight[:, None]
            start += width


def concatenate(item_ids: pa.StringArray, parts: Sequence[Part], shares: Sequence[float]) -> HistoryTowers:
    """Towers whose score is the weighted sum of the parts' scores.

    The square root of a share goes to either side, so that each part has the same weight in the cosine of two
    candidates as in a score.

    Args:
        item_ids: the vocabulary, common to all parts.
        parts: at least one.
        shares: one positive weight per part.

    Returns:
        Towers of dim Σ d + 1.
    """
    roots = [np.float32(np.sqrt(share)) for share in shares]
    bias = np.sum([part.candidate_bias * np.float32(share) for part, share in zip(parts, shares, strict=True)], axis=0)
    sides = list(zip(parts, roots, strict=True))
    return HistoryTowers(
        item_ids,
        np.concatenate([part.history * root for part, root in sides], axis=1),
        np.concatenate([*(part.candidates * root for part, root in sides), bias[:, None]], axis=1, dtype=np.float32),
        np.concatenate([*(part.query_bias * root for part, root in sides), [1]], dtype=np.float32),
        tuple(part.history.shape[1] for part in parts),
        tuple(part.reading for part in parts),
    )
