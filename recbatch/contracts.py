"""MEMORY: what stages hand to each other. Frozen containers and two Protocols, no logic beyond shape.

Orders that everything relies on:

* users stand in the byte order of their ids (so tables sorted by `user_id` prune, and shards are id ranges);
* items stand in the order (length of id, id): position order **is** the order that breaks ties;
* the events of a user stand in time order, ties in input order.

Ids are strings at the edges; inside, a user or an item is its int32 position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NO_TIME = np.iinfo(np.int64).min
"""`Events.occurred_at` of an event without a time: before every date."""

SECOND_MICROSECONDS = 1_000_000
DAY_MICROSECONDS = 86_400 * SECOND_MICROSECONDS
"""The unit of `Events.occurred_at`, times a second, and times a day."""

NO_ITEM = -1
"""Padding in an array of item positions: no candidate was left. Never reaches a table."""

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total); must be cheap and must not raise."""


def no_progress(stage: str, done: int, total: int) -> None:
    """The progress callback that shows nothing."""


Part = Callable[[str], AbstractContextManager[None]]
"""Called as part(name) around a piece of work that whoever calls may time."""


def no_part(name: str) -> AbstractContextManager[None]:
    """Times nothing."""
    return nullcontext()


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that was read: name as given, sha256 of its bytes (hex), size in bytes, rows of data."""

    name: str
    sha256: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class SourceTables:
    """What `sources.read` returns: three clean Arrow tables and an account of what was not clean.

    `interactions` has the columns of `schemas.INTERACTIONS` in input order, ids not null and not empty, every `item_id`
    present in `items`. `items` and `users` have unique ids; their extra columns pass through.
    """

    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    quarantine: pa.Table
    """`schemas.QUARANTINE`: rejected rows, and repaired rows with what was repaired."""
    inputs: tuple[InputFile, ...]
    merge_by_title: bool
    """What the source recommends where the config leaves it open (True for MovieLens)."""
    counts: dict[str, int] = field(default_factory=dict)
    """Rows read, repaired and rejected by reason, events cut because they lie on or after the run date."""
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    """Table → column → Arrow type as the source spells them, before anything is repaired."""

    def without_interactions(self) -> SourceTables:
        """The same account without the rows that `dataset.build` has encoded: the largest table is let go."""
        return replace(self, interactions=self.interactions.schema.empty_table())


@dataclass(frozen=True, slots=True)
class Events:
    """Interactions in compressed sparse rows, one row per user of the dataset."""

    offsets: Int64s
    """Shape (users + 1,): events of user u are [offsets[u], offsets[u + 1])."""
    items: Int32s
    """Shape (events,): item positions."""
    occurred_at: Int64s
    """Shape (events,): microseconds since 1970 UTC, or NO_TIME."""
    weights: Float32s
    """Shape (events,): how much each event counts, 1 where the source says nothing; may be made by `constant`."""
    ratings: Float32s
    """Shape (events,): explicit rating, NaN where there is none; may be made by `constant`."""

    @property
    def num_users(self) -> int:
        """Users of the dataset, those without events included."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Int64s:
        """Shape (users,): events per user."""
        return np.diff(self.offsets)

    def users_of_events(self) -> Int32s:
        """Shape (events,): the user position of each event."""
        return np.repeat(np.arange(self.num_users, dtype=np.int32), self.counts)

    def where(self, keep: Bools) -> Events:
        """The events where `keep` (shape (events,)) is true, users unchanged; self where it is true throughout."""
        if keep.all():
            return self
        return self._at(np.searchsorted(np.flatnonzero(keep), self.offsets), keep)

    def without_users(self, gone: Bools) -> Events:
        """The events of all users but `gone` (shape (users,)), who stay without any; self where that is nobody."""
        if not gone.any():
            return self
        edges = np.flatnonzero(np.diff(np.concatenate([[True], gone, [True]])))
        runs = [slice(*run) for run in self.offsets[edges].reshape(-1, 2).tolist()]
        offsets = np.concatenate([[0], np.cumsum(np.where(gone, 0, self.counts))])
        return self._of(offsets, lambda column: np.concatenate([column[:0], *(column[run] for run in runs)]))

    def of_users(self, users: slice | Int32s | Int64s) -> Events:
        """The events of some users, in the order asked for; the result's user i is users[i].

        Where they stand side by side, the result shares memory with this.
        """
        span = _span(users, self.num_users)
        if span is None:
            return self._from(self.offsets[users], self.counts[users])
        offsets = self.offsets[span.start : span.stop + 1]
        return self._at(offsets - offsets[0], slice(offsets[0], offsets[-1]))

    def places_of(self, users: slice | Int32s | Int64s) -> slice | Int64s:
        """Where the events of some users stand, in the order asked for."""
        span = _span(users, self.num_users)
        if span is None:
            return _places(self.offsets[users], self.counts[users])
        return slice(int(self.offsets[span.start]), int(self.offsets[span.stop]))

    def newest_of(self, users: Int32s | Int64s, counts: Int64s) -> Events:
        """The last `counts` events of each of some users, no more than they have, in the order asked for."""
        return self._from(self.offsets[1:][users] - counts, counts)

    def _from(self, first: Int64s, counts: Int64s) -> Events:
        return self._at(np.concatenate([[0], np.cumsum(counts)]), _places(first, counts))

    def _at(self, offsets: Int64s, rows: Int64s | Bools | slice) -> Events:
        return self._of(offsets, lambda column: column[rows])

    def _of(self, offsets: Int64s, picked: Callable[[Any], Any]) -> Events:
        count = int(offsets[-1])
        weights, ratings = (
            constant(column[0], count) if is_constant(column) else picked(column)
            for column in (self.weights, self.ratings)
        )
        return Events(offsets, picked(self.items), picked(self.occurred_at), weights, ratings)


def _places(first: Int64s, counts: Int64s) -> Int64s:
    """Spans that begin at `first` one after the other, place by place."""
    ends = np.cumsum(counts)
    return np.asarray(np.repeat(first - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0))


def constant(value: float, count: int) -> Float32s:
    """Shape (count,): the same number throughout, once in memory; not to be written to."""
    return np.broadcast_to(np.float32(value), count)


def is_constant(column: Float32s) -> bool:
    """Whether a column was made by `constant`, and is not empty."""
    return len(column) > 0 and column.strides == (0,)


def _span(rows: slice | Int32s | Int64s, count: int) -> slice | None:
    """Rows that follow each other as a slice; none of others."""
    if isinstance(rows, slice):
        first, end, step = rows.indices(count)
        assert step == 1, "rows are asked for one by one"
        return slice(first, max(first, end))
    if not len(rows) or rows[-1] - rows[0] != len(rows) - 1 or not (np.diff(rows) == 1).all():
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1)


@dataclass(frozen=True, slots=True)
class Dataset:
    """One night's data: both vocabularies (position → id), their attributes, and every event before the run date."""

    run_date: date
    user_ids: pa.StringArray
    """Unique, in byte order."""
    item_ids: pa.StringArray
    """Unique, in the order (length, text)."""
    titles: pa.StringArray
    """Title of each item position."""
    items: pa.Table
    """item_id, title, genres and whatever passed through, in position order."""
    users: pa.Table
    """user_id and features, in position order; features are null for users the source did not list."""
    events: Events
    has_times: bool
    """False where no event carries a time: order within a user is then the input's and means nothing."""
    inhuman: Bools
    """Shape (users,): who did more on one day than a human can; served, but nothing is learned from them."""
    fingerprint: str
    """sha256 over the events before the run date, items and users, after every repair; hex."""
    counts: dict[str, int] = field(default_factory=dict)
    """What was merged and cut while building, by reason."""

    def human(self, events: Events) -> Events:
        """Those of some events (rows: this dataset's users) that something may be learned from."""
        return events.without_users(self.inhuman)

    def has_human(self, events: Events) -> bool:
        """Whether `human` has any, of which it makes a copy."""
        return bool(events.counts[~self.inhuman].any())

    def counted(self, events: Events) -> Events:
        """All of some events, where those that nothing may be learned from weigh nothing: less to copy than `human`."""
        if not self.inhuman.any():
            return events
        weights = events.weights.copy()
        for user in np.flatnonzero(self.inhuman):
            weights[events.offsets[user] : events.offsets[user + 1]] = 0
        return replace(events, weights=weights)

    @property
    def num_users(self) -> int:
        """Users known by the run date."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """Candidates."""
        return len(self.item_ids)


@dataclass(frozen=True, slots=True)
class Split:
    """Events apart: what a judged model may see, and what it is judged on.

    By time: train `< judge_from`, test in [judge_from, judge_until). Rows are conserved: train + test = all.
    """

    train: Events
    test: Events
    protocol: str
    """`time:14d`, `random:0.2`, `per_user:0.8`: how the events were held out, as it stands in `metrics`."""
    judge_from: datetime | None
    judge_until: datetime | None

    @property
    def judged_users(self) -> Int64s:
        """Positions of the users with at least one held-out event."""
        return np.flatnonzero(self.test.counts)


@dataclass(frozen=True, slots=True)
class EventFactors:
    """What events add to their users' queries: the vector of the title, each part of it times a weight of the event."""

    vectors: Float32s
    """Shape (vocabulary, d): d is at most the length of a query, whose columns beyond get nothing."""
    widths: tuple[int, ...]
    """Columns of each part, in order; they add up to d."""
    weights: Float32s
    """Shape (parts, events)."""

    @property
    def flat(self) -> tuple[Float32s, Int64s, Int64s, Float32s]:
        """As compiled loops take it: vectors, the first column of each part, the one behind its last, weights."""
        ends = np.cumsum(self.widths, dtype=np.int64)
        return self.vectors, ends - self.widths, ends, self.weights

    def of_users(self, histories: Events, users: slice | Int32s | Int64s) -> EventFactors:
        """Those of the events of some users, in the order asked for; these are of all events of `histories`."""
        weights = self.weights[:, histories.places_of(users)]
        return EventFactors(self.vectors, self.widths, np.ascontiguousarray(weights))

    def of(self, items: Int32s) -> Float32s:
        """Shape (events, d): the products, for events whose titles are `items` (events,)."""
        scaled = self.vectors[items]
        self.scale(scaled, self.weights)
        return scaled

    def scale(self, vectors: Float32s, weights: Float32s) -> None:
        """Multiplies vectors (n, d) in place, each part by its weights (parts, n)."""
        column = 0
        for width, weight in zip(self.widths, weights, strict=True):
            vectors[:, column : column + width] *= weight[:, None]
            column += width


class Towers(Protocol):
    """Trained weights for scoring, in NumPy: score(user, item) = query · candidate, all of it float32.

    A query is `query_bias` plus the sum of the vectors of the history's events, so that every published score can be
    traced to the titles it comes from. Nothing here depends on how users are batched: embedding one user alone or among
    a million gives the same bits.
    """

    @property
    def dim(self) -> int:
        """Length of a query and of a candidate, biases included."""

    @property
    def item_ids(self) -> pa.StringArray:
        """The model's vocabulary; row i of `candidates` belongs to item_ids[i]."""

    @property
    def candidates(self) -> Float32s:
        """Shape (vocabulary, dim); the last column is a scalar bias, for which every query holds a 1."""

    @property
    def query_bias(self) -> Float32s:
        """Shape (dim,): the query of an empty history."""

    @property
    def returning_weight(self) -> float:
        """How much of a score holds for a user who comes back later, against one who goes on at once."""

    def event_factors(self, histories: Events) -> EventFactors:
        """What each event adds to its user's query; `histories.items` index the vocabulary."""

    def embed(self, histories: Events, profiles: Int32s | None = None, factors: EventFactors | None = None) -> Float32s:
        """Shape (users, dim): queries; users with an empty history and no tokens get `query_bias`.

        `factors` are those of the histories, where the caller has them.
        """

    def profiles(self, data: Dataset) -> Int32s | None:
        """Shape (users, columns): what the model reads of each user besides the history, negative for nothing.

        None for a model that reads histories only.
        """

    def ratings(self, queries: Float32s, users: Int32s, items: Int32s) -> Float32s | None:
        """Shape (n,): what users, rows of `queries` (n,), would rate titles, rows of the vocabulary (n,).

        None for a model that has learned no ratings.
        """

    def with_items(self, data: Dataset) -> Towers:
        """The same towers with those titles of a dataset added that are known by their columns only."""


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Items that must not be returned, per query, in compressed sparse rows."""

    offsets: Int64s
    """Shape (queries + 1,)."""
    items: Int32s
    """Shape (n,): candidate positions, sorted and unique within a query."""

    @classmethod
    def none(cls, queries: int) -> Exclusions:
        """Of so many queries, for which nothing is excluded."""
        return cls(np.zeros(queries + 1, dtype=np.int64), np.empty(0, dtype=np.int32))

    def of_queries(self, queries: slice | Int32s | Int64s) -> Exclusions:
        """Those of some queries, in the order asked for; side by side, they share memory with this."""
        span = _span(queries, len(self.offsets) - 1)
        if span is not None:
            own = self.offsets[span.start : span.stop + 1]
            return Exclusions(own - own[0], self.items[own[0] : own[-1]])
        counts = np.diff(self.offsets)[queries]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
        return Exclusions(offsets, self.items[np.repeat(self.offsets[queries], counts) + within])


class Index(Protocol):
    """Top-k search over a fixed candidate matrix. The exact engine is the oracle of every test."""

    @property
    def engine(self) -> str:
        """`exact`, `leaves`, `brute`, `ah` or `tree`."""

    @property
    def num_items(self) -> int:
        """Rows of the candidate matrix."""

    @property
    def is_exact(self) -> bool:
        """Whether results equal those of the exact engine by construction."""

    def search(self, queries: Float32s, k: int, exclude: Exclusions) -> tuple[Int32s, Float32s]:
        """The k best candidates per query that are not excluded.

        Args:
            queries: shape (B, dim), finite.
            k: how many per query.
            exclude: per query, what must not come back.

        Returns:
            Positions (B, k) int32 and scores (B, k) float32, by score descending then position ascending; where fewer
            than k are left, positions end in NO_ITEM and scores in -inf.
        """


@dataclass(frozen=True, slots=True)
class Certificate:
    """Tonight's recall of the index against exact search, on real queries with real exclusions."""

    engine: str
    k: int
    users: int
    recall: float
    """Mean over users of |returned ∩ exact| / |exact|."""
    ci_low: float
    """Lower end of the 95 % bootstrap interval of `recall` over users."""
    ci_high: float
    worst_percentile: float
    """Recall of the user at the first percentile."""
    score_loss: float
    """Mean relative loss of the summed scores."""
    worst_score_loss: float
    """Loss of the user at the 99th percentile."""
    target: float

    @property
    def passed(self) -> bool:
        """Whether the mean recall reaches the target."""
        return self.recall >= self.target


@dataclass(frozen=True, slots=True)
class Popular:
    """Every candidate by popularity, over all users and within each declared segment."""

    segments: tuple[str, ...]
    """`all` first, then `feature=value`."""
    order: Int32s
    """Shape (segments, items): item positions, most popular first, ties by position."""
    scores: Float32s
    """Shape (segments, items): expected share of tomorrow's events, in the order of `order`."""
    segment_of_user: Int32s
    """Shape (users,): the segment whose list a user without history gets; 0 where none was declared for them."""
    shares: Float32s
    """Shape (items,): expected share of tomorrow's events over all users, by position."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Ranked lists of a batch of users; rank r stands in column r - 1."""

    users: Int32s
    """Shape (B,): user positions."""
    positions: Int32s
    """Shape (B, length): item positions, NO_ITEM behind the last row of a short list."""
    scores: Float32s
    """Shape (B, length): -inf where there is no item."""
    sources: npt.NDArray[np.int8]
    """Shape (B, length): index into `schemas.SOURCES`."""
    because: Int32s
    """Shape (B, length): item position of the reason, NO_ITEM where there is none."""

    def rows(self, which: slice | Int64s) -> Lists:
        """Some of the lists, in the order asked for."""
        return Lists(*(getattr(self, field.name)[which] for field in fields(self)))

    @staticmethod
    def joined(batches: Sequence[Lists]) -> Lists:
        """The lists of several batches, one batch behind the other."""
        return Lists(*(np.concatenate([getattr(batch, field.name) for batch in batches]) for field in fields(Lists)))

    def lengths(self, k: int) -> Int64s:
        """Shape (B,): rows of each user among the first k ranks."""
        return np.asarray((self.positions[:, :k] != NO_ITEM).sum(axis=1), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The outcome of one check; a row of `schemas.AUDITS`."""

    check: str
    severity: str
    passed: bool
    observed: str | None = None
    expected: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """One measured figure; a row of `schemas.METRICS`."""

    metric: str
    k: int
    segment: str
    source: str
    protocol: str
    value: float
    ci_low: float
    ci_high: float
    users: int


Json = dict[str, Any]
"""A JSON object as Python holds it."""
