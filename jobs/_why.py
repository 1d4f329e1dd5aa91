"""Why a user does not get a title: the same steps as on the night, for one user, over exact search."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import publish, schemas, score, split, store, train, views, withdrawn
from recbatch.config import Config
from recbatch.contracts import NO_TIME, Dataset, Int32s, Json
from recbatch.rules import Caps, Rules
from recbatch.score import Ranker
from recbatch.store import Lake

from ._force import ranker_of
from ._items import find_item
from ._rules import RuleBook, require_same_files, rule_book
from ._say import Say
from ._serving import input_of

_NAMED = 5
"""Titles named that took the places of a capped one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The reason in one word and in one sentence, and the figures behind it."""

    item_id: str
    title: str
    reason: str
    sentence: str
    facts: Json = field(default_factory=dict)


def why_not(lake: Lake, run: Json, user: str, item: str, config: Config, say: Say) -> Answer:
    """What kept a title out of a user's list.

    What the run's tables cannot tell is worked out anew: the source is read again and must be what the night read.

    Args:
        lake: where the run and its model stand.
        run: its manifest.
        user: an id.
        item: an id or an exact title.
        config: the run's settings.
        say: hears of progress.

    Raises:
        InputMissing: the run has no such title, or its model is gone.
        DataError: the source or a file of rules is not what the night read.
    """
    gone = withdrawn.read(lake)
    for item_id, title in gone.items():
        if item in (item_id, title):
            return Answer(item_id, title, "withdrawn", "withdrawn; `recbatch withdraw --undo` brings it back")
    with views.over(lake.run(run["run_id"]), run) as con:
        if item in (run.get("withdrawn") or ()):
            return Answer(item, item, "withdrawn", "withdrawn when the night ran; the next night may recommend it")
        item_id, title = find_item(con, item)
        found = _published(con, lake, user, item_id)
    if found:
        return Answer(item_id, title, *found)
    return _Night.of(lake, run, config, say).answer(user, item_id, title)


def _published(con: duckdb.DuckDBPyConnection, lake: Lake, user: str, item_id: str) -> tuple[str, str, Json] | None:
    """What the run's tables tell by themselves."""
    if store.sha256_text(user) in publish.forgotten(lake):
        return "forgotten", "the user was forgotten: no night serves them anything but what is popular", {}
    if not views.query(con, "select 1 from users where user_id = ?", [user]).num_rows:
        rank = views.query(con, _POPULAR_RANK, [item_id]).to_pylist()
        where = f"where it has rank {rank[0]['rank']}" if rank else "where it is not"
        facts = {"rank": rank[0]["rank"] if rank else None}
        return "unknown_user", f"the run does not know the user, who gets the table popular, {where}", facts
    there = views.query(con, _LISTED, [user, item_id]).to_pylist()
    return ("listed", f"it is there: rank {there[0]['rank']}, {there[0]['source']}", there[0]) if there else None


_POPULAR_RANK = "select rank from popular where segment = 'all' and item_id = ?"
_LISTED = "select rank, score, source from recommendations where user_id = ? and item_id = ?"


@dataclass(frozen=True, slots=True)
class _Night:
    """What the lists of a run were made from."""

    run: Json
    data: Dataset
    book: RuleBook
    rules: Rules
    ranker: Ranker

    @classmethod
    def of(cls, lake: Lake, run: Json, config: Config, say: Say) -> _Night:
        tables, data = input_of(lake, run, config, say)
        book = rule_book(config, data, tables)
        require_same_files(book, run)
        day = date.fromisoformat(run["run_date"])
        rules = book.rules(day)
        popular = score.only(score.by_popularity(data, data.events, day, config.popular), rules.eligible)
        ranker = Ranker(popular, keep_seen=run["keep_seen"], rules=rules)
        if run.get("model_id"):
            towers = train.load(lake, run["model_id"], train.SERVED)
            before = split.microseconds(date.fromisoformat(run["trained_before"]))
            learned = data.events.where(data.events.occurred_at < before)
            frozen = config.score.fashion == "trained"
            keep_seen = run["keep_seen"]
            ranker = ranker_of(towers, learned, data, popular, keep_seen=keep_seen, rules=rules, as_trained=frozen)
        return cls(run, data, book, rules, ranker)

    def answer(self, user: str, item_id: str, title: str) -> Answer:
        """The first reason that holds, in the order in which a night applies them."""
        who = pc.index(self.data.user_ids, user).as_py()
        what = pc.index(self.data.item_ids, item_id).as_py()
        for reason in (self._seen, self._denied, self._ineligible, self._ranked):
            found = reason(who, what)
            if found:
                return Answer(item_id, title, *found)
        return Answer(item_id, title, "not_ranked", "no ranking of the user holds it")

    def _seen(self, user: int, item: int) -> tuple[str, str, Json] | None:
        mine = self.data.events.of_users(np.array([user]))
        times = self.rules.seen(mine).occurred_at[self.rules.seen(mine).items == item]
        if self.ranker.keep_seen or not len(times):
            return None
        last = None if times.max() == NO_TIME else str(np.datetime64(int(times.max()), "us").astype("datetime64[s]"))
        window = self.book.settings.seen_window_days
        sentence = f"seen{f', last on {last}' if last else ''}; titles seen "
        sentence += f"within rules.seen_window_days = {window} are left out" if window else "are left out"
        return "seen", sentence, {"seen_at": last}

    def _denied(self, user: int, item: int) -> tuple[str, str, Json] | None:
        denied = self.rules.denied
        if denied is None or item not in denied.items[denied.offsets[user] : denied.offsets[user + 1]]:
            return None
        until = self.book.denied_until(self.data.user_ids[user].as_py(), item)
        name = self.book.files["deny"].name
        return "denied", f"denied {f'until {until}' if until else 'for ever'} by rules.deny, {name}", {"until": until}

    def _ineligible(self, user: int, item: int) -> tuple[str, str, Json] | None:
        if self.rules.eligible is None or self.rules.eligible[item]:
            return None
        predicate = self.book.settings.eligible
        return "not_eligible", f"not eligible: does not meet rules.eligible, {predicate}", {"eligible": predicate}

    def _ranked(self, user: int, item: int) -> tuple[str, str, Json] | None:
        """Its place in the user's whole ranking, or the cap that skipped it."""
        who, k = np.array([user], dtype=np.int32), self.run["k"]
        free = replace(self.ranker, rules=replace(self.rules, caps=None))
        whole = free.rank(self.data.events, who, self.data.num_items, with_reasons=False)
        [place] = np.flatnonzero(whole.positions[0] == item) if (whole.positions[0] == item).any() else [-1]
        if place < 0:
            return None
        listed = self.ranker.rank(self.data.events, who, k, with_reasons=False)
        own = listed.positions[0][: int(listed.lengths(k)[0])]
        of, source = int(whole.lengths(self.data.num_items)[0]), schemas.SOURCES[whole.sources[0, place]]
        facts: Json = {"rank": int(place) + 1, "of": of, "score": float(whole.scores[0, place]), "source": source}
        ahead = own[np.isin(own, whole.positions[0, :place])]
        if self.rules.caps is not None and len(ahead) < k and item not in own:
            return self._capped(self.rules.caps, item, ahead, facts)
        where = f"rank {facts['rank']:,} of {of:,}"
        if item in own:
            return "missed_by_search", f"{where} by exact search, which the {self.run['engine']} index missed", facts
        last = int(listed.lengths(k)[0]) - 1
        end = float(listed.scores[0, last])
        facts |= {"last_score": end, "last_source": schemas.SOURCES[listed.sources[0, last]]}
        scores = f"with score {facts['score']:.4f} ({source}); the last published row has {end:.4f}"
        scores += f" ({facts['last_source']})"
        known = self.ranker.catalogue is None or self.ranker.catalogue.row_of_item[item] >= 0
        if not known and source == "popular":
            return "not_in_vocabulary", f"the model does not know it, so it stands behind all it knows: {where}", facts
        return "ranked_below", f"{where} {scores}", facts

    def _capped(self, caps: Caps, item: int, ahead: Int32s, facts: Json) -> tuple[str, str, Json]:
        for value in caps.values[item]:
            holders = ahead[(caps.values[ahead] == value).any(axis=1)]
            if len(holders) >= caps.limits[value]:
                names = self.data.titles.take(pa.array(holders[:_NAMED])).to_pylist()
                more = f" and {len(holders) - _NAMED} more" if len(holders) > _NAMED else ""
                facts |= {"value": caps.names[value], "at_most": int(caps.limits[value])}
                facts |= {"places_taken_by": self.data.item_ids.take(pa.array(holders)).to_pylist()}
                sentence = (
                    f"capped at rank {facts['rank']:,} of {facts['of']:,}: rules.at_most allows {caps.limits[value]}"
                )
                return "capped", f"{sentence} of {caps.names[value]}; taken by {', '.join(names)}{more}", facts
        return "ranked_below", f"rank {facts['rank']:,} of {facts['of']:,}", facts
