"""One batch of users from histories to ranked lists, and ranked lists to rows. No loop over users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from recbatch import _compiling, schemas
from recbatch.contracts import (
    NO_ITEM,
    Bools,
    Dataset,
    EventFactors,
    Events,
    Exclusions,
    Index,
    Int32s,
    Int64s,
    Lists,
    Part,
    Popular,
    Towers,
    no_part,
)
from recbatch.errors import DataError
from recbatch.rules import NONE, Rules
from recbatch.score import barring
from recbatch.score._named import named, rows_of
from recbatch.score.because import Evidence
from recbatch.score.catalogue import Catalogue, exclusions
from recbatch.score.drafting import Draft
from recbatch.score.filling import MODEL, PINNED, append_best, append_popular

_HELD_CELLS = 16_000_000
"""Counts of capped values held at once: 32 MB."""


@dataclass(frozen=True, slots=True)
class Ranker:
    """Everything needed to rank for any user: pure, so a batch is a function of its users alone."""

    popular: Popular
    """Titles that may be recommended only."""
    towers: Towers | None = None
    """None with `catalogue` and `index`: lists by popularity only."""
    catalogue: Catalogue | None = None
    index: Index | None = None
    keep_seen: bool = False
    profiles: Int32s | None = None
    """Shape (users, columns) of all users, from `Towers.profiles`: whoever has one needs no history."""
    rules: Rules = NONE
    _evidence: list[Evidence] = field(init=False, default_factory=list, repr=False, compare=False)
    """Made when a reason is first wanted."""

    def rank(
        self, events: Events, users: Int32s, length: int, *, with_reasons: bool = True, part: Part = no_part
    ) -> Lists:
        """Ranked lists for some users.

        Args:
            events: histories of all users of the dataset; what a user has seen is read from here too.
            users: shape (B,): whose lists are wanted.
            length: rows wanted per user.
            with_reasons: whether `because` is filled in.
            part: hears when `embed`, `search` and `evidence` begin and end.

        Returns:
            Lists whose pinned rows come first, then the model's, and popularity rows fill up: the greedy choice along
            that ranking of whatever is not barred and no cap forbids. Short only where nothing is left that fits.
        """
        mine = events.of_users(users)
        draft = Draft.empty(users, length, self.rules.caps)
        barred = self._pin(draft, self.barred(mine, users))
        by_model = self._rank_by_model(mine, draft, barred, with_reasons, part)
        append_popular(draft, barred, by_model, self.popular)
        return draft.lists

    def rank_all(
        self,
        events: Events,
        users: Int32s,
        length: int,
        batch: int,
        *,
        with_reasons: bool = True,
        part: Part = no_part,
    ) -> Iterator[Lists]:
        """Ranked lists for many users, batch by batch, in the order of `users`; see `rank`."""
        if self.index is not None and self.towers is not None:
            _compiling.expect(2.0 * len(users) * self.index.num_items * self.towers.dim)
        if self.rules.caps is not None:
            batch = max(1, min(batch, _HELD_CELLS // len(self.rules.caps.limits)))
        for start in range(0, len(users), batch):
            yield self.rank(events, users[start : start + batch], length, with_reasons=with_reasons, part=part)

    def barred(self, mine: Events, users: Int32s) -> Exclusions:
        """What users must not get: seen titles, within the window if there is one, and denied ones.

        With the settings and the arrays of `rules` that are not by user, all that a user's list obeys.

        Args:
            mine: the events of these users.
            users: shape (B,): their positions.
        """
        seen = Exclusions.none(len(users)) if self.keep_seen else exclusions(self.rules.seen(mine))
        return seen if self.rules.denied is None else barring.union(seen, self.rules.denied.of_queries(users))

    def _pin(self, draft: Draft, barred: Exclusions) -> Exclusions:
        """Pinned titles come first; gives what is barred from then on."""
        pins = self.rules.pins
        if pins is None:
            return barred
        users = draft.lists.users
        stream = pins.of(users)
        stream[barring.is_barred(barred, stream)] = NO_ITEM
        if self.rules.eligible is not None:
            stream[~self.rules.eligible[stream]] = NO_ITEM
        scores = np.broadcast_to(-np.arange(1, stream.shape[1] + 1, dtype=np.float32), stream.shape)
        draft.append(np.arange(len(users)), stream, scores, PINNED)
        row, place = np.nonzero(draft.lists.positions != NO_ITEM)
        return barring.union(barred, barring.of_pairs(row, draft.lists.positions[row, place], len(users)))

    def _rank_by_model(self, mine: Events, draft: Draft, barred: Exclusions, with_reasons: bool, part: Part) -> Bools:
        """Appends the model's titles; gives whose lists have any."""
        by_model = np.zeros(len(draft.have), dtype=np.bool_)
        if self.towers is None or self.catalogue is None or self.index is None:
            return by_model
        known = self.catalogue.histories(mine)
        profiles = None if self.profiles is None else self.profiles[draft.lists.users]
        rows = np.flatnonzero(known_to_model(known, profiles))
        if len(rows) == 0:
            return by_model
        histories = known.of_users(rows)
        with part("embed"):
            factors = self.towers.event_factors(histories)
            queries = self.towers.embed(histories, None if profiles is None else profiles[rows], factors)
        if not np.isfinite(queries).all():
            raise DataError("a query embedding is not finite; train anew with --train always")
        exclude = barring.renamed(barred.of_queries(rows), self.catalogue.candidate_of_item)
        had = draft.have[rows]
        with part("search"):
            append_best(draft, rows, queries, exclude, self.catalogue, self.index)
        by_model[rows] = draft.have[rows] > had
        if with_reasons:
            if not self._evidence:
                self._evidence.append(Evidence(self.catalogue.embeddings))
            with part("evidence"):
                _explain(draft.lists, rows, histories, factors, self._evidence[0], self.catalogue)
        return by_model


def _explain(
    lists: Lists, rows: Int64s, histories: Events, factors: EventFactors, evidence: Evidence, catalogue: Catalogue
) -> None:
    """Fills in `because` for the model's titles."""
    some = np.flatnonzero(histories.counts)
    listed, reasoned = lists.positions[rows[some]], histories.of_users(some)
    by_model = (lists.sources[rows[some]] == MODEL) & (listed != NO_ITEM)
    found = np.where(by_model, catalogue.candidate_of_item[listed], np.int32(NO_ITEM))
    lists.because[rows[some]] = evidence.reasons(reasoned, factors, found, _rows_to_items(catalogue))


def known_to_model(histories: Events, profiles: Int32s | None) -> Bools:
    """Shape (users,): who is ranked by the model, by events on titles that it knows or by a token of their own."""
    by_history: Bools = histories.counts > 0
    return by_history if profiles is None else by_history | (profiles >= 0).any(axis=1)


def _rows_to_items(catalogue: Catalogue) -> Int32s:
    """Item position of each vocabulary row that tonight still has."""
    positions = np.flatnonzero(catalogue.row_of_item >= 0)
    rows = catalogue.row_of_item[positions]
    items = np.full(int(rows.max()) + 1, NO_ITEM, dtype=np.int32)
    items[rows] = positions
    return items


def to_table(lists: Lists, data: Dataset, first_rank: int = 1, last_rank: int | None = None) -> pa.Table:
    """Ranked lists as rows of `schemas.RECOMMENDATIONS`, users in the order of `lists`, ranks ascending.

    Args:
        lists: a batch.
        data: names the positions.
        first_rank: the first rank wanted, 1 is best.
        last_rank: the last rank wanted; none: all.

    Returns:
        One row per user and rank that holds an item; text as positions into the dataset's names, which the writer of
        a table cuts down to those of each row group.
    """
    window: slice = slice(first_rank - 1, last_rank)
    positions: Int32s = lists.positions[:, window]
    there = positions != NO_ITEM
    whole = bool(there.all())

    def flat(cells: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.ravel(cells) if whole else cells[there]

    items = pa.array(flat(positions))
    because = flat(lists.because[:, window])
    ranks = np.arange(first_rank, first_rank + positions.shape[1], dtype=np.int16)
    columns = {
        "user_id": named(pa.array(np.repeat(lists.users, there.sum(axis=1))), data.user_ids),
        "rank": pa.array(flat(np.broadcast_to(ranks, positions.shape))),
        "item_id": named(items, data.item_ids),
        "title": named(items, data.titles),
        "score": pa.array(flat(lists.scores[:, window])),
        "source": named(pa.array(flat(lists.sources[:, window])), pa.array(schemas.SOURCES)),
        "because_item_id": named(pa.array(because, mask=because == NO_ITEM), data.item_ids),
    }
    return rows_of(schemas.RECOMMENDATIONS, columns)
