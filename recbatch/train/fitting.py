"""From events to trained towers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from recbatch import config
from recbatch.contracts import NO_ITEM, Dataset, Events, Progress, no_progress
from recbatch.errors import DataError
from recbatch.model import HistoryTowers, Part, concatenate
from recbatch.train.batches import examples, trainable_users
from recbatch.train.candidates import Candidates
from recbatch.train.recipes import Recipe, recipes
from recbatch.train.returning import returning_weight

_LAST_RATE = 0.05
"""The learning rate falls along a cosine to this share of where it began."""

_SEEDS = 2**32
"""TensorFlow and NumPy's old generator take no larger seed."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Trained towers and how they came about."""

    towers: HistoryTowers
    objective: str
    """`next` or `fill_in`: what was really trained; `next` without times falls back to `fill_in`."""
    epochs: int
    """Passes over the users that were made, by each part."""
    steps: int
    """Gradient steps, all parts together."""
    losses: tuple[tuple[float, ...], ...]
    """Per part and epoch: mean cross-entropy per answer, in nats."""
    seconds: float
    settings: config.Train
    seed: int


def fit(
    events: Events,
    data: Dataset,
    settings: config.Train,
    seed: int,
    *,
    epochs: int | None = None,
    progress: Progress = no_progress,
) -> Fitted:
    """Trains towers on some events of a dataset.

    The vocabulary is every title with at least one of these events, in position order. The same events, settings, seed,
    machine and number of threads give the same bits.

    Args:
        events: what the model may see; `items` index `data.item_ids`. Not changed.
        data: the dataset they come from.
        settings: hyper-parameters.
        seed: of initial weights, order of users, cuts and dropout.
        epochs: passes over the users instead of what the settings say: a refit repeats the passes of the judged model.
        progress: called after every epoch as progress("train", done, total).

    Returns:
        The towers.

    Raises:
        DataError: there is not one event.
    """
    if not len(events.items):
        raise DataError("no events to train on: widen the source, lower dataset.min_rating or choose a later run date")
    started = time.monotonic()
    present = np.unique(events.items)
    rows = np.full(data.num_items, NO_ITEM, np.int32)
    rows[present] = np.arange(len(present), dtype=np.int32)
    encoded = replace(events, items=rows[events.items])
    plan = recipes(settings, data.has_times)
    passes = epochs or affordable_epochs(settings, encoded)
    parts: list[Part] = []
    losses: list[tuple[float, ...]] = []
    for number, recipe in enumerate(plan):
        told = _told(progress, number * passes, len(plan) * passes)
        part, curve = _train(encoded, recipe, settings, passes, seed=(seed + number) % _SEEDS, told=told)
        parts.append(part)
        losses.append(curve)
    towers = concatenate(data.item_ids.take(pa.array(present)), parts, [recipe.share for recipe in plan])
    if plan[0].objective == "next":
        towers = replace(towers, returning_weight=returning_weight(towers, encoded, seed))
    return Fitted(
        towers=towers,
        objective=plan[0].objective,
        epochs=passes,
        steps=len(plan) * passes * _steps_per_epoch(settings, encoded),
        losses=tuple(losses),
        seconds=time.monotonic() - started,
        settings=settings,
        seed=seed,
    )


def affordable_epochs(settings: config.Train, events: Events) -> int:
    """Passes over the users that `epochs` and `max_steps` allow, one at least."""
    return max(1, min(settings.epochs, settings.max_steps // _steps_per_epoch(settings, events)))


def _steps_per_epoch(settings: config.Train, events: Events) -> int:
    """A pass over the users, or as much of it as `max_steps` leaves time for."""
    return min(settings.max_steps, -(-len(trainable_users(events)) // settings.batch_size))


def _told(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress("train", before + done, total)


def _train(
    events: Events, recipe: Recipe, settings: config.Train, passes: int, *, seed: int, told: Callable[[int], None]
) -> tuple[Part, tuple[float, ...]]:
    from recbatch.model import two_tower  # loads TensorFlow

    tf = two_tower.tf
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    random = np.random.default_rng(seed)
    popularity = np.bincount(events.items).astype(np.float32)
    steps = _steps_per_epoch(settings, events)
    model = two_tower.TwoTower(np.log(popularity / popularity.mean()), recipe.embedding_dim)
    rate = tf.keras.optimizers.schedules.CosineDecay(settings.learning_rate, passes * steps, alpha=_LAST_RATE)
    model.compile(optimizer=tf.keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay))
    step = tf.function(model.train_step, reduce_retracing=True)
    candidates = Candidates(popularity, random)
    size = min(settings.batch_size, len(trainable_users(events)))
    stream = examples(events, recipe, size, random)
    losses = []
    for done in range(passes):
        sums = [step(two_tower.tensors(candidates.batch(next(stream))))["loss"] for _ in range(steps)]
        losses.append(float(np.mean(sums)) / size)
        told(done + 1)
    part = two_tower.export(model, recipe.reading)
    tf.keras.backend.clear_session()
    return part, tuple(losses)
