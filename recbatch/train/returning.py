"""How much of a score holds for the next visit: training mostly asks about the next click of the same session."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recbatch.contracts import NO_TIME, Events, Float32s, Int64s, Towers
from recbatch.train.batches import event_spans

RETURN_MICROSECONDS = 6 * 3_600_000_000
"""A pause after which a user counts as coming back: on MovieLens 100K sessions last minutes, pauses days."""
_SAMPLE = 1_000
_FEWEST = 200
"""Moments of either kind below which nothing is learned and scores keep their size."""
_CELLS = 20_000_000
_TARGETS = 20
_FORCES = np.geomspace(0.1, 3.0, 18)
_LEAST = 0.25


def returning_weight(towers: Towers, events: Events, seed: int) -> float:
    """The likeliest force of a score for users who come back, over that for users who go on at once; at most 1.

    A force f turns scores s into f · (s - log p) + log p, p being the titles' shares of all events: at 0 everybody gets
    what is popular, at 1 the model speaks as it was trained. Both forces are read off the same training events, so that
    what the model knows by heart cancels out.

    Args:
        towers: just trained.
        events: what they were trained on, items as vocabulary rows.
        seed: of the sample.

    Returns:
        A factor in [0.25, 1]; 1 where there are too few moments of one kind.
    """
    kinds = [_moments(events, came_back=came_back, size=_size(towers), seed=seed) for came_back in (True, False)]
    if min(len(moments) for moments in kinds) < _FEWEST:
        return 1.0
    came_back, went_on = (_likeliest_force(towers, events, moments) for moments in kinds)
    return float(np.clip(came_back / went_on, _LEAST, 1.0))


def _size(towers: Towers) -> int:
    return min(_SAMPLE, _CELLS // len(towers.candidates))


def _moments(events: Events, *, came_back: bool, size: int, seed: int) -> Int64s:
    """Places of events that follow one of the same user, after a pause or without one; a random sample, in order."""
    times = events.occurred_at
    follows = np.ones(len(times), dtype=np.bool_)
    follows[events.offsets[:-1][events.counts > 0]] = False
    before = np.concatenate([times[:1], times[:-1]])
    follows &= before != NO_TIME
    pause = times - np.where(before == NO_TIME, times, before)
    places = np.flatnonzero(follows & ((pause >= RETURN_MICROSECONDS) == came_back))
    drawn = np.random.default_rng(seed).permutation(len(places))[:size]
    return np.sort(places[drawn])


def _likeliest_force(towers: Towers, events: Events, moments: Int64s) -> float:
    counts = np.bincount(events.items, minlength=len(towers.candidates)) + 0.5
    popular = np.log(counts / counts.sum()).astype(np.float32)
    users = np.searchsorted(events.offsets, moments, side="right") - 1
    first, end = events.offsets[users], events.offsets[users + 1]
    rows, places = event_spans(first, moments)
    lengths = np.concatenate([[0], np.cumsum(moments - first)])
    histories = Events(
        lengths, events.items[places], events.occurred_at[places], events.weights[places], events.ratings[places]
    )
    beyond = (towers.embed(histories) @ towers.candidates.T - popular).astype(np.float32)
    open_ = np.ones(beyond.shape, dtype=np.bool_)
    open_[rows, events.items[places]] = False
    answer_rows, ahead = event_spans(moments, np.minimum(end, moments + _TARGETS))
    answers = events.items[ahead]
    kept = open_[answer_rows, answers]
    gains = [_gain(force, beyond, popular, open_, answer_rows[kept], answers[kept]) for force in _FORCES]
    return float(_FORCES[int(np.argmax(gains))])


def _gain(
    force: float,
    beyond: Float32s,
    popular: Float32s,
    open_: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int32],
    answers: npt.NDArray[np.int32],
) -> float:
    """Mean log likelihood of the answers."""
    scores = np.where(open_, np.float32(force) * beyond + popular, np.float32(-1e9))
    top = scores.max(axis=1)
    norm = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return float((scores[rows, answers] - norm[rows]).mean()) if len(rows) else 0.0
