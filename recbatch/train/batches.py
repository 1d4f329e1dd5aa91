"""Training examples: what a user had done, and what was done next or is missing. NumPy, no loop over users."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from recbatch.contracts import NO_ITEM, Events, Float32s, Int32s, Int64s
from recbatch.model import History
from recbatch.train.recipes import Recipe

Batch = dict[str, npt.NDArray[np.generic]]


def trainable_users(events: Events) -> Int64s:
    """Positions of the users that give examples: one event at least."""
    return np.flatnonzero(events.counts >= 1)


def batches(events: Events, recipe: Recipe, size: int, random: np.random.Generator) -> Iterator[Batch]:
    """Endless batches of `size` users each; every user once per pass, passes reshuffled and joined.

    Yields:
        history (size, L) int32 padded with -1, weights (size, L) float32, targets (size, T) int32 padded with -1,
        target_weights (size, T) float32 that sum to 1 per row with targets.
    """
    users = trainable_users(events)
    queue = np.empty(0, np.int64)
    make = next_examples if recipe.objective == "next" else fill_in_examples
    while True:
        while len(queue) < size:
            queue = np.concatenate([queue, random.permutation(users)])
        yield make(events, queue[:size], recipe, random)
        queue = queue[size:]


def next_examples(events: Events, users: Int64s, recipe: Recipe, random: np.random.Generator) -> Batch:
    """Cuts each user's events at a random point: what lies before is the history, the first ones after it the targets."""
    counts = events.counts[users]
    cuts = events.offsets[users] + (random.random(len(users)) * counts).astype(np.int64)
    length = int(min(counts.max(), recipe.reading.max_history))
    ages = np.arange(length)
    history = _take(events, cuts[:, None] - 1 - ages, events.offsets[users][:, None], cuts[:, None])
    kept = (history >= 0) & (random.random(history.shape) >= recipe.dropout)
    ahead = cuts[:, None] + np.arange(int(min(counts.max(), recipe.targets)))
    targets = _take(events, ahead, cuts[:, None], events.offsets[users + 1][:, None])
    return _batch(history, _weights(kept, ages, recipe.reading), targets)


def fill_in_examples(events: Events, users: Int64s, recipe: Recipe, random: np.random.Generator) -> Batch:
    """Hides each event of a user with probability `dropout`: the rest is the history, the hidden are the targets."""
    ends = events.offsets[users + 1][:, None]
    length = int(min(events.counts[users].max(), recipe.reading.max_history))
    ages = np.arange(length)
    titles = _take(events, ends - 1 - ages, events.offsets[users][:, None], ends)
    hidden = random.random(titles.shape) < recipe.dropout
    history = np.where(hidden, NO_ITEM, titles).astype(np.int32)
    targets = np.where(hidden, titles, NO_ITEM).astype(np.int32)
    return _batch(history, _weights(history >= 0, ages, recipe.reading), targets)


def _take(events: Events, rows: Int64s, first: Int64s, end: Int64s) -> Int32s:
    valid = (rows >= first) & (rows < end)
    return np.where(valid, events.items[np.where(valid, rows, 0)], NO_ITEM).astype(np.int32)


def _weights(kept: npt.NDArray[np.bool_], ages: Int64s, reading: History) -> Float32s:
    raw = kept * reading.recency(ages)
    norms = np.sqrt(np.sum(raw**2, axis=1, keepdims=True))
    return np.asarray(raw / np.maximum(norms, np.finfo(np.float32).tiny), np.float32)


def _batch(history: Int32s, weights: Float32s, targets: Int32s) -> Batch:
    wanted = (targets >= 0).astype(np.float32)
    totals = np.maximum(wanted.sum(axis=1, keepdims=True), 1)
    return {"history": history, "weights": weights, "targets": targets, "target_weights": wanted / totals}
