"""The last nights once more, each with what was known on its morning (protocol N)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from datetime import time as clock

import numpy as np

from recbatch import evaluate, split
from recbatch.config import Config
from recbatch.contracts import Dataset, Lists, Progress, Split, no_progress
from recbatch.errors import DataError
from recbatch.evaluate import HeldOut
from recbatch.store import Lake

from . import _side_by_side
from ._contenders import NIGHTLY, Contenders, hindsight
from ._peers import Settings, Workshop, choose, rank
from ._quality import LENGTH, figures

PEERS = ("recent", "popularity")
CHOOSING_NIGHTS = 7
"""Nights before the first one on which the peers' settings are chosen."""


@dataclass(frozen=True, slots=True)
class Night:
    """One night as it would have been, and what came after it."""

    day: date
    trained_before: date
    pairs: HeldOut
    lists: dict[str, Lists]
    """Contender → lists of `pairs.users`."""
    hindsight: Lists
    """See `_contenders.hindsight`."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Nights in order, and how they came about."""

    nights: tuple[Night, ...]
    settings: dict[str, Settings]
    """Peer → what was chosen before the first night."""
    seconds: dict[str, float]
    trainings: int


def as_of(data: Dataset, day: date) -> Dataset:
    """The dataset on the eve of a day: no event dated on or after it.

    Titles, users and their features carry no date and stay; a user without an event before the day is a cold one.
    """
    known = data.events.occurred_at < split.microseconds(day)
    return replace(data, run_date=day, events=data.events.where(known))


def replay(
    data: Dataset,
    config: Config,
    *,
    nights: int,
    horizon_days: int = 1,
    retrain_every: int = 7,
    peers: Sequence[str] = PEERS,
    jobs: int = 1,
    keep: Lake | None = None,
    progress: Progress = no_progress,
) -> Replay:
    """Runs the last nights again; night D uses nothing dated on or after D.

    Args:
        data: everything; its run date ends the last night's horizon.
        config: settings of recbatch.
        nights: how many.
        horizon_days: events in [D, D + horizon) judge night D.
        retrain_every: days from one training to the next; histories and popularity are of the night itself.
        peers: keys of `_peers.GRIDS`; their settings are chosen on the nights before the first one.
        jobs: chains of nights that run side by side; see `_side_by_side.chains`.
        keep: where trained models are kept, and taken from where they are what training would give.
        progress: called after every night, with more jobs after every chain.

    Returns:
        The nights after which something happened.

    Raises:
        DataError: no event has a time, or nothing had happened before the first night.
        ConfigError: so many nights do not fit into the memory budget.
    """
    days = _days(data.run_date, nights, horizon_days)
    if not data.has_times or not len(as_of(data, days[0]).events.items):
        raise DataError(
            f"no event with a time lies before {days[0]}, the first of {nights} nights: ask for fewer --nights,"
            " or judge without dates by `recbatch benchmark quality --protocol R`"
        )
    chosen = {name: _choose(name, data, days[0], horizon_days, config.seed) for name in peers}
    parts = _side_by_side.chains(nights, retrain_every, config)
    if jobs > 1 and len(parts) > 1:
        _side_by_side.require(data, config, min(jobs, len(parts)))
        work = functools.partial(_chain, data, config, days, horizon_days, retrain_every, chosen, keep)
        pieces = _side_by_side.run(work, parts, jobs, progress)
    else:
        pieces = [_chain(data, config, days, horizon_days, retrain_every, chosen, keep, range(nights), progress)]
    seconds = {name: sum(piece.seconds[name] for piece in pieces) for name in pieces[0].seconds}
    found = tuple(night for piece in pieces for night in piece.nights)
    return Replay(found, chosen, seconds, sum(piece.trainings for piece in pieces))


def _chain(
    data: Dataset,
    config: Config,
    days: Sequence[date],
    horizon_days: int,
    retrain_every: int,
    chosen: dict[str, Settings],
    keep: Lake | None,
    numbers: range,
    progress: Progress = no_progress,
) -> Replay:
    """Nights one after the other, the first of them a cold training."""
    contenders, found = Contenders(config, chosen, keep), []
    for number in numbers:
        day = days[number]
        tonight = as_of(data, day)
        contenders.get_ready(tonight, training=number % retrain_every == 0)
        pairs = what_came(data, tonight, horizon_days)
        if len(pairs.users):
            lists = contenders.rank(tonight, pairs.users)
            found.append(Night(day, contenders.trained.run_date, pairs, lists, hindsight(tonight, pairs)))
        progress("nights", number + 1, len(days))
    return Replay(tuple(found), chosen, contenders.seconds, contenders.trainings)


def _days(until: date, nights: int, horizon_days: int) -> list[date]:
    """The nights whose horizon ends by a date, the last of them on it."""
    return [until - timedelta(days=horizon_days + back) for back in reversed(range(nights))]


def what_came(data: Dataset, tonight: Dataset, horizon_days: int) -> HeldOut:
    """The new pairs of the horizon after a night."""
    day = tonight.run_date
    first, end = split.microseconds(day), split.microseconds(day + timedelta(days=horizon_days))
    came = data.events.where((data.events.occurred_at >= first) & (data.events.occurred_at < end))
    midnight = datetime.combine(day, clock())
    parts = Split(tonight.events, came, f"nights:{horizon_days}d", midnight, midnight + timedelta(days=horizon_days))
    return evaluate.held_out(parts, keep_seen=False)


def _choose(name: str, data: Dataset, first: date, horizon_days: int, seed: int) -> Settings:
    """A peer's settings by its ndcg@10 on the nights before the first one, which end before it."""
    eves = [as_of(data, day) for day in _days(first, CHOOSING_NIGHTS, horizon_days)]
    known = [(eve, what_came(data, eve, horizon_days), Workshop(eve.events, data.num_items)) for eve in eves]
    known = [(eve, pairs, workshop) for eve, pairs, workshop in known if len(pairs.users) and len(eve.events.items)]

    def quality(settings: Settings) -> float:
        values, steady = [np.zeros(1)], None
        for eve, pairs, workshop in known:
            steady = steady if steady and name not in NIGHTLY else workshop.fit(name, settings, seed)
            lists = rank(steady, eve.events, pairs.users, LENGTH)
            values.append(figures(lists, pairs, [("ndcg", 10)])["ndcg_at_10"])
        return float(np.concatenate(values).mean())

    return choose(name, quality)
