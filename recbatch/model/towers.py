"""Trained towers in plain NumPy: what scoring uses, and what a model folder holds.

    query(user)     = query_bias + Σ over the user's tokens of profile[token] / (1 + events of the history)
                                 + Σ over the history's events of weight(event) · history[item(event)]
    score(user, i)  = query(user) · candidates[i]

Both tables of titles are sums of what a title is by itself and of what its tokens (genre, year) say; `with_items` gives
titles that training has not met the latter alone.

One or more *parts* stand side by side in the columns, each with its own `History`; a last column carries the
candidates' scalar biases (the query holds a constant 1 there). Scores of parts add up, so a weighted sum of models is
again a pair of towers.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import _compiling, _threads
from recbatch.contracts import Dataset, EventFactors, Events, Float32s, Int32s, Int64s
from recbatch.model import _summing
from recbatch.model.features import NO_TOKEN, FeatureSpace
from recbatch.model.ratings import RatingHead, head_arrays, head_of, predict_ratings
from recbatch.model.weights import History, event_weights

_CHUNKS_PER_CORE = 4
"""So that all cores end at about the same time, whoever has the long histories."""
_EVENTS_AT_ONCE = 100_000
"""Events weighed at a time: a megabyte in each step of arithmetic."""
_CHUNK_BYTES = 4 << 20
"""Queries summed at a time: stays in the processor's cache; three such buffers live at once."""


def _no_tokens() -> Float32s:
    return np.zeros((0, 0), np.float32)


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
    profile: Float32s = field(default_factory=_no_tokens)
    """Shape (user tokens, d): what a token of a user adds to a query."""
    token_history: Float32s = field(default_factory=_no_tokens)
    """Shape (item tokens, d): what a token adds to a row of `history`; it is in there already."""
    token_candidates: Float32s = field(default_factory=_no_tokens)
    """Shape (item tokens, d): what a token adds to a row of `candidates`; it is in there already."""
    token_bias: Float32s = field(default_factory=lambda: np.zeros(0, np.float32))
    """Shape (item tokens,): what a token adds to `candidate_bias`; it is in there already."""
    unknown_bias: float = 0.0
    """Bias of a title without an event, its tokens aside."""
    head: RatingHead | None = None
    """What predicts ratings; none where none were learned."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the towers know of users and items besides their histories."""

    users: FeatureSpace = field(default_factory=FeatureSpace)
    items: FeatureSpace = field(default_factory=FeatureSpace)


@dataclass(frozen=True, slots=True)
class HistoryTowers:
    """The `contracts.Towers` of a history model. `concatenate` makes them; `dim` is the width of all parts plus 1."""

    item_ids: pa.StringArray
    """The vocabulary, in the order of the tables' rows."""
    parts: tuple[Part, ...]
    """The models that stand side by side, as they were trained."""
    shares: tuple[float, ...]
    """Weight of each part's score in the sum."""
    tokens: Tokens
    """The tokens of all parts."""
    history: Float32s
    """Shape (vocabulary, dim - 1): what one event of weight 1 adds to a query; its bias column would be 0."""
    candidates: Float32s
    """Shape (vocabulary, dim); the last column is the scalar bias."""
    query_bias: Float32s
    """Shape (dim,); the last entry is 1."""
    profile: Float32s
    """Shape (user tokens, dim - 1): what a token adds to a query."""
    returning_weight: float = 1.0
    """See `contracts.Towers`."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each part, in order."""
        return tuple(part.history.shape[1] for part in self.parts)

    @property
    def readings(self) -> tuple[History, ...]:
        """How each part weighs histories."""
        return tuple(part.reading for part in self.parts)

    @property
    def dim(self) -> int:
        """Length of a query and of a candidate, biases included."""
        return len(self.query_bias)

    def event_factors(self, histories: Events) -> EventFactors:
        """What each event adds to its user's query: a title's vector times a weight of each part.

        Args:
            histories: `items` index the vocabulary.

        Returns:
            Weights are 0 for events beyond a part's max_history.
        """
        weights = np.empty((len(self.parts), len(histories.items)), np.float32)

        def chunk(users: slice) -> None:
            first, end = histories.offsets[[users.start, users.stop]]
            weights[:, first:end] = event_weights(self.readings, histories.of_users(users))

        parts = -(-len(histories.items) // _EVENTS_AT_ONCE) or 1
        bounds = np.linspace(0, histories.num_users, parts + 1, dtype=np.int64).tolist()
        _threads.run([partial(chunk, slice(*pair)) for pair in itertools.pairwise(bounds)])
        return EventFactors(self.history, self.widths, weights)

    def profiles(self, data: Dataset) -> Int32s | None:
        """Shape (users, columns): the tokens of every user of a dataset; none where the model knows none."""
        return self.tokens.users.codes(data.users) if self.tokens.users.size else None

    def with_items(self, data: Dataset) -> HistoryTowers:
        """These towers, and behind their vocabulary every title of a dataset that only its tokens describe.

        A title without any token that the model knows stays unknown.
        """
        if not self.tokens.items.size:
            return self
        unknown = np.flatnonzero(np.asarray(pc.invert(pc.is_in(data.item_ids, value_set=self.item_ids))))
        described = self.tokens.items.matrix(data.items.take(pa.array(unknown)))
        some = described.any(axis=1)
        if not some.any():
            return self
        ids = pa.concat_arrays([self.item_ids, data.item_ids.take(pa.array(unknown[some]))])
        parts = tuple(_with_rows(part, described[some]) for part in self.parts)
        return replace(concatenate(ids, parts, self.shares, self.tokens), returning_weight=self.returning_weight)

    def embed(self, histories: Events, profiles: Int32s | None = None, factors: EventFactors | None = None) -> Float32s:
        """The queries of some users: `query_bias`, their tokens, and their event vectors from the newest event back.

        Events are added one age at a time, element by element, so that the bits of a query do not depend on which users
        stand beside it.

        Args:
            histories: `items` index the vocabulary.
            profiles: shape (users, columns), their tokens; none: users are what they did.
            factors: `event_factors` of these histories; none: they are made.

        Returns:
            Shape (users, dim); `query_bias` where there is neither token nor event. Besides the result, about 16 MB are
            held for each core.
        """
        weighed = self.event_factors(histories) if factors is None else factors
        queries = np.empty((histories.num_users, self.dim), np.float32)
        everywhere = -(-histories.num_users // (_CHUNKS_PER_CORE * _threads.workers()))
        step = max(1, min(_CHUNK_BYTES // (4 * self.dim), everywhere))

        def chunk(start: int) -> None:
            users = slice(start, min(start + step, histories.num_users))
            queries[users, :-1] = self._sum(histories.of_users(users), weighed.of_users(histories, users))
            queries[users, :-1] += self.query_bias[:-1]
            if profiles is not None:
                self._add_profiles(queries[users, :-1], profiles[users], histories.counts[users])

        _threads.run([partial(chunk, start) for start in range(0, histories.num_users, step)])
        queries[:, -1] = self.query_bias[-1]
        return queries

    def ratings(self, queries: Float32s, users: Int32s, items: Int32s) -> Float32s | None:
        """See `contracts.Towers`."""
        return predict_ratings(self.parts, self.shares, queries, users, items)

    def _add_profiles(self, queries: Float32s, profiles: Int32s, events: Int64s) -> None:
        trust = (1 / (1 + events)).astype(np.float32)[:, None]
        for codes in profiles.T:
            known = codes != NO_TOKEN
            queries[known] += self.profile[codes[known]] * trust[known]

    def to_arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """Everything but vocabulary and tokens as named arrays, for `from_arrays`."""
        found: dict[str, npt.NDArray[np.generic]] = {
            "shares": np.array(self.shares, np.float64),
            "half_life_events": np.array([reading.half_life_events for reading in self.readings], np.float64),
            "max_history": np.array([reading.max_history for reading in self.readings], np.int32),
            "unknown_bias": np.array([part.unknown_bias for part in self.parts], np.float64),
            "returning_weight": np.array(self.returning_weight, np.float64),
        }
        for number, part in enumerate(self.parts):
            found |= {f"{name}_{number}": getattr(part, name) for name in _TABLES}
        return found | head_arrays(self.parts)

    @classmethod
    def from_arrays(
        cls, item_ids: pa.StringArray, arrays: Mapping[str, npt.NDArray[np.generic]], tokens: Tokens
    ) -> HistoryTowers:
        """The inverse of `to_arrays`."""
        numbers = {
            name: np.asarray(arrays[name]).tolist()
            for name in ("shares", "half_life_events", "max_history", "unknown_bias")
        }
        parts = [
            Part(
                reading=History(numbers["half_life_events"][at], numbers["max_history"][at]),
                unknown_bias=numbers["unknown_bias"][at],
                head=head_of(arrays, at),
                **{name: np.asarray(arrays[f"{name}_{at}"], np.float32) for name in _TABLES},
            )
            for at in range(len(numbers["shares"]))
        ]
        found = concatenate(item_ids, parts, numbers["shares"], tokens)
        return replace(found, returning_weight=float(arrays["returning_weight"]))

    def _sum(self, histories: Events, factors: EventFactors) -> Float32s:
        """Shape (users, dim - 1): Σ event vectors. Longest histories go first: users left at an age are a prefix."""
        reach = max(reading.max_history for reading in self.readings)
        if _compiling.is_due(2.0 * len(histories.items) * self.dim):
            return _summing.sums(factors, histories, reach)
        longest_first = np.argsort(-histories.counts, kind="stable")
        lengths = histories.counts[longest_first]
        newest = histories.offsets[1:][longest_first] - 1
        sums = np.zeros((histories.num_users, self.dim - 1), np.float32)
        vectors = np.empty_like(sums)
        for age in range(min(int(lengths.max(initial=0)), reach)):
            left = int(np.searchsorted(-lengths, -age))
            events = newest[:left] - age
            part = vectors[:left]
            np.take(self.history, histories.items[events], axis=0, out=part, mode="clip")
            factors.scale(part, factors.weights[:, events])
            sums[:left] += part
        back = np.empty_like(longest_first)
        back[longest_first] = np.arange(len(back))
        return sums[back]


_TABLES = (
    "history",
    "candidates",
    "candidate_bias",
    "query_bias",
    "profile",
    "token_history",
    "token_candidates",
    "token_bias",
)


def _with_rows(part: Part, described: Float32s) -> Part:
    bias = described @ part.token_bias + np.float32(part.unknown_bias)
    return replace(
        part,
        history=np.concatenate([part.history, described @ part.token_history]),
        candidates=np.concatenate([part.candidates, described @ part.token_candidates]),
        candidate_bias=np.concatenate([part.candidate_bias, bias.astype(np.float32)]),
    )


def concatenate(
    item_ids: pa.StringArray, parts: Sequence[Part], shares: Sequence[float], tokens: Tokens | None = None
) -> HistoryTowers:
    """Towers whose score is the weighted sum of the parts' scores.

    The square root of a share goes to either side, so that each part has the same weight in the cosine of two
    candidates as in a score.

    Args:
        item_ids: the vocabulary, common to all parts.
        parts: at least one.
        shares: one positive weight per part.
        tokens: common to all parts; none: the model knows ids only.

    Returns:
        Towers of dim Σ d + 1.
    """
    roots = [np.float32(np.sqrt(share)) for share in shares]
    bias = np.sum([part.candidate_bias * np.float32(share) for part, share in zip(parts, shares, strict=True)], axis=0)
    sides = list(zip(parts, roots, strict=True))
    known = tokens or Tokens()
    profile = [part.profile * root for part, root in sides] if known.users.size else []
    return HistoryTowers(
        item_ids,
        tuple(parts),
        tuple(shares),
        known,
        np.concatenate([part.history * root for part, root in sides], axis=1),
        np.concatenate([*(part.candidates * root for part, root in sides), bias[:, None]], axis=1, dtype=np.float32),
        np.concatenate([*(part.query_bias * root for part, root in sides), [1]], dtype=np.float32),
        np.concatenate(profile, axis=1) if profile else _no_tokens(),
    )
