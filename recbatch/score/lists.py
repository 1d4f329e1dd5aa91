"""One batch of users from histories to ranked lists, and ranked lists to rows. No loop over users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recbatch import schemas
from recbatch.contracts import (
    NO_ITEM,
    Bools,
    Dataset,
    Events,
    Exclusions,
    Float32s,
    Index,
    Int32s,
    Int64s,
    Lists,
    Popular,
    Towers,
)
from recbatch.errors import DataError
from recbatch.score.because import reasons
from recbatch.score.catalogue import Catalogue, exclusions

_MODEL, _SEGMENT, _POPULAR = (schemas.SOURCES.index(name) for name in ("model", "segment", "popular"))
_FILL_CELLS = 4_000_000  # cells of the boolean tables used while filling up lists


@dataclass(frozen=True, slots=True)
class Ranker:
    """Everything needed to rank for any user: pure, so a batch is a function of its users alone."""

    popular: Popular
    towers: Towers | None = None
    """None with `catalogue` and `index`: lists by popularity only."""
    catalogue: Catalogue | None = None
    index: Index | None = None
    keep_seen: bool = False
    profiles: Int32s | None = None
    """Shape (users, columns) of all users, from `Towers.profiles`: whoever has one needs no history."""

    def rank(self, events: Events, users: Int32s, length: int, *, with_reasons: bool = True) -> Lists:
        """Ranked lists for some users.

        Args:
            events: histories of all users of the dataset; what a user has seen is read from here too.
            users: shape (B,): whose lists are wanted.
            length: rows wanted per user.
            with_reasons: whether `because` is filled in.

        Returns:
            Lists whose model rows come first and whose popularity rows fill up; short only where a user has seen all
            but fewer than `length` candidates.
        """
        mine = events.of_users(users)
        lists = _empty(users, length)
        self._rank_by_model(mine, lists, with_reasons)
        seen = _nothing(len(users)) if self.keep_seen else exclusions(mine)
        self._fill(lists, seen)
        return lists

    def rank_all(self, events: Events, users: Int32s, length: int, batch: int) -> Iterator[Lists]:
        """Ranked lists for many users, batch by batch, in the order of `users`."""
        for start in range(0, len(users), batch):
            yield self.rank(events, users[start : start + batch], length)

    def _rank_by_model(self, mine: Events, lists: Lists, with_reasons: bool) -> None:
        if self.towers is None or self.catalogue is None or self.index is None:
            return
        known = self.catalogue.histories(mine)
        profiles = None if self.profiles is None else self.profiles[lists.users]
        rows = np.flatnonzero(known_to_model(known, profiles))
        if len(rows) == 0:
            return
        histories = known.of_users(rows)
        queries = self.towers.embed(histories, None if profiles is None else profiles[rows])
        if not np.isfinite(queries).all():
            raise DataError("a query embedding is not finite; train anew with --train always")
        exclude = (
            _nothing(len(rows)) if self.keep_seen else exclusions(mine.of_users(rows), self.catalogue.candidate_of_item)
        )
        found, scores = self.index.search(queries, lists.positions.shape[1], exclude)
        lists.positions[rows] = np.where(found == NO_ITEM, NO_ITEM, self.catalogue.positions[found])
        lists.scores[rows] = scores
        lists.sources[rows] = _MODEL
        if with_reasons:
            some = np.flatnonzero(histories.counts)
            vectors, reasoned = self.towers.event_vectors(histories), histories.of_users(some)
            which = reasons(vectors, reasoned.offsets, self.catalogue.embeddings, found[some])
            items = _rows_to_items(self.catalogue)[histories.items]
            lists.because[rows[some]] = np.where(which == NO_ITEM, NO_ITEM, items[which])

    def _fill(self, lists: Lists, seen: Exclusions) -> None:
        """Fills the tail of short lists by popularity, leaving out what is seen or listed already."""
        short = np.flatnonzero((lists.positions == NO_ITEM).any(axis=1))
        untouched = (lists.positions[short] == NO_ITEM).all(axis=1)
        simple = short[untouched & (np.diff(seen.offsets)[short] == 0)]
        self._fill_same(lists, simple)
        rest = np.setdiff1d(short, simple)
        step = max(1, _FILL_CELLS // self.popular.order.shape[1])
        for start in range(0, len(rest), step):
            self._fill_apart(lists, seen, rest[start : start + step])

    def _fill_same(self, lists: Lists, rows: Int64s) -> None:
        """Users with nothing to leave out get their segment's list as it stands."""
        segment = self.popular.segment_of_user[lists.users[rows]]
        length = min(lists.positions.shape[1], self.popular.order.shape[1])
        lists.positions[rows, :length] = self.popular.order[segment, :length]
        lists.scores[rows, :length] = self.popular.scores[segment, :length]
        lists.sources[rows, :length] = np.where(segment > 0, _SEGMENT, _POPULAR)[:, None]

    def _fill_apart(self, lists: Lists, seen: Exclusions, rows: Int64s) -> None:
        """Users with something to leave out: the first free places of the popularity order, for all rows at once."""
        have = (lists.positions[rows] != NO_ITEM).sum(axis=1)
        # A list that the model began is filled from the overall order: its user has a history, not just a segment.
        segment = np.where(have > 0, 0, self.popular.segment_of_user[lists.users[rows]])
        free = np.ones((len(rows), self.popular.order.shape[1]), dtype=np.bool_)
        counts = np.diff(seen.offsets)[rows]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        free[np.repeat(np.arange(len(rows)), counts), seen.items[np.repeat(seen.offsets[rows], counts) + within]] = (
            False
        )
        listed_row, listed_rank = np.nonzero(lists.positions[rows] != NO_ITEM)
        free[listed_row, lists.positions[rows[listed_row], listed_rank]] = False
        order = self.popular.order[segment]
        free = np.take_along_axis(free, order, axis=1)
        place = np.cumsum(free, axis=1) - 1 + have[:, None]
        row, column = np.nonzero(free & (place < lists.positions.shape[1]))
        rank = place[row, column]
        lists.positions[rows[row], rank] = order[row, column]
        lists.scores[rows[row], rank] = self.popular.scores[segment[row], column]
        lists.sources[rows[row], rank] = np.where(segment[row] > 0, _SEGMENT, _POPULAR)


def known_to_model(histories: Events, profiles: Int32s | None) -> Bools:
    """Shape (users,): who is ranked by the model, by events on titles that it knows or by a token of their own."""
    by_history: Bools = histories.counts > 0
    return by_history if profiles is None else by_history | (profiles >= 0).any(axis=1)


def _rows_to_items(catalogue: Catalogue) -> Int32s:
    """Item position of each vocabulary row that tonight's catalogue still has."""
    rows = catalogue.row_of_item[catalogue.positions]
    items = np.full(int(rows.max()) + 1, NO_ITEM, dtype=np.int32)
    items[rows] = catalogue.positions
    return items


def _empty(users: Int32s, length: int) -> Lists:
    shape = (len(users), length)
    return Lists(
        users=users,
        positions=np.full(shape, NO_ITEM, dtype=np.int32),
        scores=np.full(shape, -np.inf, dtype=np.float32),
        sources=np.full(shape, _POPULAR, dtype=np.int8),
        because=np.full(shape, NO_ITEM, dtype=np.int32),
    )


def _nothing(queries: int) -> Exclusions:
    return Exclusions(np.zeros(queries + 1, dtype=np.int64), np.empty(0, dtype=np.int32))


def to_table(lists: Lists, data: Dataset, first_rank: int = 1, last_rank: int | None = None) -> pa.Table:
    """Ranked lists as rows of `schemas.RECOMMENDATIONS`, users in the order of `lists`, ranks ascending.

    Args:
        lists: a batch.
        data: names the positions.
        first_rank: the first rank wanted, 1 is best.
        last_rank: the last rank wanted; none: all.

    Returns:
        One row per user and rank that holds an item.
    """
    window: slice = slice(first_rank - 1, last_rank)
    positions: Int32s = lists.positions[:, window]
    row, column = np.nonzero(positions != NO_ITEM)
    items = pa.array(positions[row, column])
    because: Int32s = lists.because[:, window][row, column]
    scores: Float32s = lists.scores[:, window][row, column]
    return pa.table(
        {
            "user_id": data.user_ids.take(pa.array(lists.users[row])),
            "rank": pa.array((column + first_rank).astype(np.int16)),
            "item_id": data.item_ids.take(items),
            "title": data.titles.take(items),
            "score": pa.array(scores),
            "source": pa.array(schemas.SOURCES).take(pa.array(lists.sources[:, window][row, column])),
            "because_item_id": data.item_ids.take(pa.array(because, mask=because == NO_ITEM)),
        },
        schema=schemas.arrow(schemas.RECOMMENDATIONS),
    )
