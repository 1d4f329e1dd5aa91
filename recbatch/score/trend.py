"""What is in fashion: the share of tomorrow's events that each title will have, learned from how shares went so far.

A title's share of a day's events is modelled as softmax over titles of Σ_h w_h · log(count_h + ε), where count_h is its
number of earlier events, halved every h days. The weights w are the maximum of the multinomial likelihood of the latest
days (McFadden 1974, "Conditional logit analysis"), so that no one has to guess how fast a catalogue turns over: a news
feed comes to live on the first day's count, a library on the count of all times.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import numpy.typing as npt

from recbatch.contracts import NO_TIME, Events, Float32s, Int64s

Float64s = npt.NDArray[np.float64]

HALF_LIVES_DAYS = (1.0, 3.0, 10.0, 30.0, 120.0, np.inf)
_START = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 0.0])
"""Where little is known: plain counts with a half-life of 30 days."""
_START_EVENTS = 300.0
"""How many events it takes to move half-way from there."""
_EPSILON = 0.05
"""Events that a title has before its first one."""
_DAY_MICROSECONDS = 86_400_000_000
_MOST_DAYS = 60
_MOST_CELLS = 20_000_000
"""Cells of (half-lives, days, titles) held while fitting: 160 MB."""
_NEWTON_STEPS = 25


def tomorrow(events: Events, titles: int, until: date) -> Float32s:
    """Each title's expected share of the events of the day `until`.

    Args:
        events: everything before `until`; `items` are positions below `titles`. Weights count.
        titles: how many titles there are.
        until: the day to look forward to.

    Returns:
        Shape (titles,), summing to 1. Without times: shares of all events.
    """
    timed = events.occurred_at != NO_TIME
    if not timed.any():
        counts = np.bincount(events.items, weights=events.weights, minlength=titles) + _EPSILON
        return np.asarray(counts / counts.sum(), dtype=np.float32)
    day = events.occurred_at[timed] // _DAY_MICROSECONDS
    order = np.argsort(day, kind="stable")
    log = _Log(day[order], events.items[timed][order], events.weights[timed][order].astype(np.float64), titles)
    today = int(np.datetime64(until, "D").astype(np.int64))
    most = max(3, min(_MOST_DAYS, _MOST_CELLS // (len(HALF_LIVES_DAYS) * titles)))
    latest = np.unique(log.day)[1:][-most:]  # the first day has nothing to go by
    weights = _fit(log.features(latest), log.counts(latest)) if len(latest) else _START
    return np.asarray(_shares(log.features(np.array([today])), weights)[0], dtype=np.float32)


class _Log:
    """Events by day, and what was known on the morning of a day."""

    def __init__(self, day: Int64s, items: npt.NDArray[np.int32], weights: Float64s, titles: int) -> None:
        self.day, self.items, self.weights, self.titles = day, items, weights, titles

    def features(self, days: Int64s) -> Float64s:
        """Shape (half-lives, days, titles): log counts on the mornings of ascending days."""
        fade = np.exp2(-1 / np.array(HALF_LIVES_DAYS))[:, None]
        found = np.empty((len(fade), len(days), self.titles))
        state, morning, place = np.zeros((len(fade), self.titles)), int(days[0]), 0
        for number, day in enumerate(days.tolist()):
            end = int(np.searchsorted(self.day, day))
            state *= fade ** (day - morning)
            part = slice(place, end)
            for row, half_life in enumerate(HALF_LIVES_DAYS):
                weight = self.weights[part] * np.exp2((self.day[part] - day + 0.5) / half_life)
                state[row] += np.bincount(self.items[part], weight, minlength=self.titles)
            morning, place = day, end
            found[:, number] = np.log(state + _EPSILON)
        return found

    def counts(self, days: Int64s) -> Float64s:
        """Shape (days, titles): events of the days themselves."""
        inside = np.isin(self.day, days)
        cell = np.searchsorted(days, self.day[inside]) * self.titles + self.items[inside]
        found = np.bincount(cell, self.weights[inside], minlength=len(days) * self.titles)
        return np.asarray(found.reshape(len(days), -1), dtype=np.float64)


def _shares(features: Float64s, weights: Float64s) -> Float64s:
    """Shape (days, titles): the model's shares."""
    scores = np.tensordot(weights, features, axes=1)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))


def _fit(features: Float64s, counts: Float64s) -> Float64s:
    """Weights of the largest posterior: the multinomial likelihood and a normal prior at `_START`; Newton's method."""
    weights, per_day = _START.copy(), counts.sum(axis=1)
    total = per_day.sum()
    ridge = _START_EVENTS / total
    for _ in range(_NEWTON_STEPS):
        shares = _shares(features, weights)
        expected = shares * per_day[:, None]
        slope = np.tensordot(features, counts - expected, axes=([1, 2], [0, 1])) / total - ridge * (weights - _START)
        means = np.einsum("dv,hdv->hd", shares, features)
        spread = np.einsum("hdv,kdv->hk", features * expected, features, optimize=True)
        curvature = (spread - (means * per_day) @ means.T) / total + ridge * np.eye(len(weights))
        step = np.linalg.solve(curvature, slope)
        weights = weights + step
        if float(np.abs(step).max()) < 1e-4:
            break
    return weights


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
    then = np.bincount(learned_from.items, learned_from.weights, minlength=len(shares)) + 0.5
    return np.asarray(np.log(shares) - weight * np.log(then / then.sum()), dtype=np.float32)
