"""What is in fashion: the share of tomorrow's events that each title will have, by how fast this catalogue turns over.

A title counts with its events, halved every so many days. No one has to guess how many: the half-life is the one whose
ten titles of the morning met most of each of the latest days' events, first places counting more (the numerator of
ndcg@10), so that a news feed comes to live on yesterday's count and a library on that of all times. Likelihood is no
guide here: it is dominated by the thousands of titles that no list will ever show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from recbatch import _compiling
from recbatch.contracts import DAY_MICROSECONDS, NO_TIME, Events, Float32s, Int32s, Int64s
from recbatch.score import _fading

Float64s = npt.NDArray[np.float64]

HALF_LIVES_DAYS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, np.inf)
_USUAL = 32.0
"""The half-life where too little has happened to tell."""
_FEWEST_EVENTS = 100
_LATEST_DAYS = 30
_TOP = 10
_AT_A_TIME = 1_000_000
"""Events worked on at a time: some 50 MB."""
_OPERATIONS = 10
"""What compiling may save for each event and half-life, in multiplications."""
_UNSEEN = 0.5
"""Events that every title has besides its own: log shares of rare titles differ by no more than chance explains."""


def tomorrow(events: Events, titles: int, until: date, half_life_days: float | None = None) -> Float32s:
    """Each title's expected share of the events of the day `until`.

    Args:
        events: everything before `until`; `items` are positions below `titles`. Weights count: what weighs nothing
            is as good as not there.
        titles: how many titles there are.
        until: the day to look forward to.
        half_life_days: of an event; none: learned.

    Returns:
        Shape (titles,), summing to 1. Without times: shares of all events.
    """
    timed = events.occurred_at != NO_TIME
    counts: Float64s
    if not (timed & (events.weights > 0)).any():
        counts = np.asarray(np.bincount(events.items, events.weights.astype(np.float64), titles), np.float64)
    else:
        kept = events.where(timed)
        log = _Log(kept.occurred_at, kept.items, kept.weights, titles)
        day = int(np.datetime64(until, "D").astype(np.int64))
        counts = log.morning(day, half_life_days) if half_life_days else log.learned(day)
    counts = counts + _UNSEEN
    return np.asarray(counts / counts.sum(), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class _Log:
    """Events with times, in any order; shapes (events,)."""

    times: Int64s
    items: Int32s
    weights: Float32s
    titles: int

    def morning(self, day: int, half_life: float) -> Float64s:
        """Shape (titles,): counts on the morning of a day."""
        counts: Float64s = self.mornings(day, (half_life,))[0]
        return counts

    def mornings(self, day: int, half_lives: Sequence[float]) -> Float64s:
        """The same for several half-lives: shape (half-lives, titles).

        Where each is twice the one before, the longest is raised to powers.
        """
        counts = np.zeros((len(half_lives), self.titles))
        for start in range(0, len(self.times), _AT_A_TIME):
            part = slice(start, start + _AT_A_TIME)
            before = np.flatnonzero(self.times[part] < day * DAY_MICROSECONDS) + start
            age = self.times[before] / DAY_MICROSECONDS - day
            items, weights = self.items[before], self.weights[before].astype(np.float64)
            add = _fading.add if _compiling.is_due(_OPERATIONS * len(before) * len(half_lives)) else _add
            for chain in _chains(half_lives):
                longest = half_lives[chain][-1]
                faded = np.exp2(age / longest) if np.isfinite(longest) else np.ones(len(age))
                add(items, weights, faded, counts[chain])
        return counts

    def half_life(self) -> float:
        """The half-life, in days, by which the latest days were met best; the longest among equals."""
        return self._learn()[0]

    def learned(self, day: int) -> Float64s:
        """`morning` of a day after the last event, with that half-life: nothing is counted twice."""
        half_life, newest, since, counts = self._learn()
        if newest is None:
            return self.morning(day, half_life)
        faded = counts * 2.0 ** ((since - day) / half_life)
        return np.asarray(faded + newest.morning(day, half_life))

    def _learn(self) -> tuple[float, _Log | None, int, Float64s]:
        """The best half-life; with it, where it was learned, the events of the latest days, the first, its counts."""
        start, per_day = self._per_day()
        latest = np.flatnonzero(per_day)[1:][-_LATEST_DAYS:] + start  # the first day has nothing to go by
        if not len(latest) or per_day[latest - start].sum() < _FEWEST_EVENTS:
            return _USUAL, None, start, np.zeros(self.titles)
        since = int(latest[0])
        recent = np.flatnonzero(self.times >= since * DAY_MICROSECONDS)
        day = self.times[recent] // DAY_MICROSECONDS - since
        few = day.max() < 2**16
        recent = recent[np.argsort(day.astype(np.uint16) if few else day, kind="stable")]  # few are counted, not sorted
        newest = _Log(self.times[recent], self.items[recent], self.weights[recent], self.titles)
        first = self.mornings(since, HALF_LIVES_DAYS)
        met = newest._met(first, HALF_LIVES_DAYS, latest)
        best = len(met) - 1 - int(np.argmax(met[::-1]))
        return HALF_LIVES_DAYS[best], newest, since, first[best]

    def _per_day(self) -> tuple[int, Int64s]:
        """The first day, and how many events that weigh something each day has from there on."""
        start, last = (int(end) // DAY_MICROSECONDS for end in (self.times.min(), self.times.max()))
        counts = np.zeros(last - start + 1, np.int64)
        for first in range(0, len(self.times), _AT_A_TIME):
            part = slice(first, first + _AT_A_TIME)
            day = self.times[part] // DAY_MICROSECONDS - start
            counts += np.bincount(day[self.weights[part] > 0], minlength=len(counts))
        return start, counts

    def _met(self, counts: Float64s, half_lives: Sequence[float], days: Int64s) -> list[float]:
        """Events of some ascending days that the mornings' first titles met, by 1 / log2(1 + rank), by each half-life.

        `counts` (half-lives, titles) are those of the first morning; the events are those of the days, day by day.
        """
        counts, met = counts.copy(), [0.0] * len(half_lives)
        first, end = (np.searchsorted(self.times, (days + past) * DAY_MICROSECONDS) for past in (0, 1))
        gains = 1 / np.log2(np.arange(2, _TOP + 2))
        for place, day in enumerate(days.tolist()):
            mine = slice(first[place], end[place])
            today = np.bincount(self.items[mine], self.weights[mine], minlength=self.titles)
            gone = slice(first[place - 1], end[place - 1]) if place else slice(0)
            age = self.times[gone] / DAY_MICROSECONDS - day
            for at, half_life in enumerate(half_lives):
                if place:
                    counts[at] *= 2.0 ** (-(day - days[place - 1]) / half_life)
                    since = np.exp2(age / half_life) * self.weights[gone]
                    counts[at] += np.bincount(self.items[gone], since, minlength=self.titles)
                top = _first(counts[at])
                met[at] += float(today[top] @ gains[: len(top)])
        return met


def _chains(half_lives: Sequence[float]) -> list[slice]:
    """Runs of half-lives of which each is twice the one before."""
    starts = [at for at in range(len(half_lives)) if not at or half_lives[at] != 2 * half_lives[at - 1]]
    return [slice(*pair) for pair in pairwise([*starts, len(half_lives)])]


def _add(items: Int32s, weights: Float64s, faded: Float64s, counts: Float64s) -> None:
    """Adds events to the counts of a chain, shape (half-lives, titles), faded as by the longest; see `_fading.add`."""
    items = items.astype(np.int64)
    for place in reversed(range(len(counts))):
        counts[place] += np.bincount(items, weights * faded, minlength=counts.shape[1])
        faded = faded * faded


def _first(counts: Float64s) -> Int64s:
    """The positions of the largest counts, ties by position."""
    most = min(_TOP, len(counts))
    least = np.partition(counts, len(counts) - most)[len(counts) - most]
    found = np.flatnonzero(counts >= least)
    return np.asarray(found[np.argsort(-counts[found], kind="stable")][:most])


def as_learned(learned_from: Events, counted: Events, titles: int, weight: float) -> Float32s:
    """`fashion` on the day after the last event that a model was trained on: the same on every night with that model.

    Args:
        learned_from: those events, `items` below `titles`.
        counted: those of them that popularity goes by.
        titles: how many titles there are.
        weight: as in `fashion`.

    Returns:
        Shape (titles,).
    """
    last = int(learned_from.occurred_at.max(initial=NO_TIME))
    if last == NO_TIME:
        return np.zeros(titles, dtype=np.float32)
    until = date(1970, 1, 1) + timedelta(days=last // DAY_MICROSECONDS + 1)
    return fashion(tomorrow(counted, titles, until), learned_from, weight)


def fashion(shares: Float32s, learned_from: Events, weight: float = 1.0) -> Float32s:
    """What to add to a trained model's biases because popularity has moved on: log share now - weight · log share then.

    Training teaches p(title | history) under the popularity of its own time. Where only popularity changes, the right
    scores of tomorrow are those plus the log ratio: the prior correction of Saerens, Latinne and Decaestecker (2002),
    "Adjusting the outputs of a classifier to new a priori probabilities", equation 2.4.

    Args:
        shares: shape (items,), from `tomorrow`.
        learned_from: the events that the model was trained on, items as positions.
        weight: how much of the model's score is kept, and so of the popularity that it learned.

    Returns:
        Shape (items,). Zeros where no event has a time: nothing is known of then and now.
    """
    if not (learned_from.occurred_at != NO_TIME).any():
        return np.zeros(len(shares), dtype=np.float32)
    then = np.bincount(learned_from.items, learned_from.weights, minlength=len(shares)) + _UNSEEN
    return np.asarray(np.log(shares) - weight * np.log(then / then.sum()), dtype=np.float32)
