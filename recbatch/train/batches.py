"""Training examples: what a user had done, and what was done next or is missing. NumPy, no loop over users."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recbatch.contracts import Events, Float32s, Int32s, Int64s
from recbatch.model import divided
from recbatch.train.recipes import Recipe

Examples = dict[str, npt.NDArray[np.generic]]
"""What some users had done and what came of it. Events lie flat: `*_rows` say whose they are within the batch.

    seen_rows, seen_titles                           int32 (s,)   what the query must not be asked about
    history_rows, history_titles, history_weights    int32, float32 (h,)  what it is made of
    target_rows, target_titles, target_weights       int32, float32 (t,)  the right answers; weights sum to 1 per row
    target_ratings                                   float32 (t,)  NaN where there is none; only with a rating task
    importance                                       float32 (B,) by number of answers, mean 1; 0 where there is none
    users                                            int64 (B,)
"""

Flat = tuple[Int32s, Int32s]
"""Rows and titles of some events."""


def trainable_users(events: Events) -> Int64s:
    """Positions of the users that give examples: those with an event."""
    return np.flatnonzero(events.counts)


class Stream:
    """Endless batches of users; passes over the users are shuffled anew and joined without a short batch."""

    def __init__(self, events: Events, recipe: Recipe, size: int, random: np.random.Generator) -> None:
        """Begins a first pass.

        Args:
            events: all users', items as vocabulary rows.
            recipe: how examples are cut.
            size: users per batch.
            random: of order, cuts and dropout.
        """
        self._events, self._recipe, self._size, self._random = events, recipe, size, random
        self._users = trainable_users(events)
        self._make = next_examples if recipe.objective == "next" else fill_in_examples
        self.queue = np.empty(0, np.int64)
        """Users whose turn comes next; with the generator's state, all that there is to remember."""

    def draw(self) -> Examples:
        """The next batch."""
        while len(self.queue) < self._size:
            self.queue = np.concatenate([self.queue, self._random.permutation(self._users)])
        users, self.queue = self.queue[: self._size], self.queue[self._size :]
        return self._make(self._events, users, self._recipe, self._random)


def next_examples(events: Events, users: Int64s, recipe: Recipe, random: np.random.Generator) -> Examples:
    """Cuts each user's events at a random point: what lies before is the history, the next ones are the answers.

    A share `dropout` of the history is hidden from the query; it still must not be asked about. A cut before the first
    event gives an empty history: so `query_bias` and the users' tokens learn what newcomers do.
    """
    first, end = events.offsets[users], events.offsets[users + 1]
    cuts = first + (random.random(len(users)) * (end - first)).astype(np.int64)
    cuts = np.where(_newcomers(users, recipe, random), first, cuts)
    rows, places = event_spans(np.maximum(first, cuts - recipe.reading.max_history), cuts)
    kept = random.random(len(rows)) >= recipe.dropout
    weights = _weights(events, rows[kept], places[kept], cuts, recipe)
    seen = rows, events.items[places]
    answer_rows, ahead = event_spans(cuts, np.minimum(end, cuts + recipe.targets))
    history = rows[kept], seen[1][kept]
    examples = _examples(users, seen, history, weights, (answer_rows, events.items[ahead]))
    return examples | _ratings(events, ahead, recipe)


def fill_in_examples(events: Events, users: Int64s, recipe: Recipe, random: np.random.Generator) -> Examples:
    """Hides each event of a user with probability `dropout`: the rest is the history, the hidden are the answers."""
    first, end = events.offsets[users], events.offsets[users + 1]
    rows, places = event_spans(np.maximum(first, end - recipe.reading.max_history), end)
    kept = random.random(len(rows)) >= recipe.dropout
    kept &= ~_newcomers(users, recipe, random)[rows]
    weights = _weights(events, rows[kept], places[kept], end, recipe)
    titles = events.items[places]
    history = rows[kept], titles[kept]
    examples = _examples(users, history, history, weights, (rows[~kept], titles[~kept]))
    return examples | _ratings(events, places[~kept], recipe)


def _newcomers(users: Int64s, recipe: Recipe, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Whose whole history is hidden, so that tokens learn to speak for users who have none."""
    return random.random(len(users)) < recipe.newcomers if recipe.newcomers else np.zeros(len(users), np.bool_)


def event_spans(first: Int64s, end: Int64s) -> tuple[Int32s, Int64s]:
    """Row and place of every event in [first[row], end[row])."""
    counts = end - first
    rows = np.repeat(np.arange(len(first), dtype=np.int32), counts)
    return rows, first[rows] + np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]


def _weights(events: Events, rows: Int32s, places: Int64s, ends: Int64s, recipe: Recipe) -> Float32s:
    """What `History.event_weights` would give for these events if each row's history ended before `ends`."""
    raw = recipe.reading.strengths(ends[rows] - 1 - places, events.weights[places])
    norms = np.sqrt(np.bincount(rows, raw.astype(np.float64) ** 2, minlength=1))
    return divided(raw, norms[rows])


def _ratings(events: Events, answers: Int64s, recipe: Recipe) -> Examples:
    return {"target_ratings": events.ratings[answers]} if recipe.rating_weight else {}


def _examples(users: Int64s, seen: Flat, history: Flat, weights: Float32s, answers: Flat) -> Examples:
    count = np.bincount(answers[0], minlength=len(users))
    return {
        "users": users,
        "seen_rows": seen[0],
        "seen_titles": seen[1],
        "history_rows": history[0],
        "history_titles": history[1],
        "history_weights": weights,
        "target_rows": answers[0],
        "target_titles": answers[1],
        "target_weights": (1 / count[answers[0]]).astype(np.float32),
        "importance": (count / max(float(count.mean()), 1e-9)).astype(np.float32),
    }
