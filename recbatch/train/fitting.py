"""From events to trained towers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import config
from recbatch.contracts import NO_ITEM, Dataset, Events, Float32s, Int32s, Progress, no_progress
from recbatch.errors import DataError
from recbatch.model import FeatureSpace, HistoryTowers, Part, Tokens, concatenate
from recbatch.train.checkpoints import Checkpoints
from recbatch.train.recipes import Recipe, recipes
from recbatch.train.trainer import Clock, Inputs, StepTimes, Trainer, steps_per_pass

_EVENTS_FOR_HALF = 5.0
"""Events of a title after which its tokens count half."""
_SEEDS = 2**32
"""TensorFlow and NumPy's old generator take no larger seed."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Trained towers and how they came about."""

    towers: HistoryTowers
    objective: str
    """`next` or `fill_in`: what was really trained; `next` without times falls back to `fill_in`."""
    epochs: int
    """Passes over the users that were planned for each part."""
    steps: int
    """Gradient steps that were made, all parts together."""
    losses: tuple[tuple[float, ...], ...]
    """Per part and epoch: see `Trained`."""
    seconds: float
    settings: config.Train
    seed: int
    warm: bool = False
    """Whether it started from an earlier model."""
    budget_reached: bool = False
    """Whether the time budget, not the settings, said how many passes there were."""
    input_share: float = 0.0
    """Share of the training time that went into making batches."""


def fit(
    events: Events,
    data: Dataset,
    settings: config.Train,
    seed: int,
    *,
    epochs: int | None = None,
    start: HistoryTowers | None = None,
    budget: float | None = None,
    checkpoints: Checkpoints | None = None,
    progress: Progress = no_progress,
) -> Fitted:
    """Trains towers on some events of a dataset.

    The vocabulary is every title with at least one of these events, in position order. The same arguments, machine and
    number of threads give the same bits, interrupted and resumed or not, unless the budget ended training.

    Args:
        events: what the model may see; `items` index `data.item_ids`. Not changed. Events of users of inhuman volume
            are left out.
        data: the dataset they come from.
        settings: hyper-parameters.
        seed: of initial weights, order of users, cuts and dropout.
        epochs: passes over the users instead of what the settings say: a refit repeats the passes of the judged model.
        start: an earlier model to go on from, with `settings.warm_epochs` of the passes; its tokens are kept. Titles
            that it does not know begin with what their tokens say.
        budget: seconds that training may take; fewer passes are made if the plan would take longer.
        checkpoints: where an interrupted training is resumed from.
        progress: called after every epoch as progress("train", done, total).

    Returns:
        The towers.

    Raises:
        DataError: there is not one event.
    """
    began = time.monotonic()
    inputs, ids, tokens, plan = _prepared(events, data, settings, start)
    passes = epochs or affordable_epochs(settings, inputs.events, warm=start is not None)
    planned, parts, losses, clocks = passes, list[Part](), list[tuple[float, ...]](), list[Clock]()
    for number, recipe in enumerate(plan):
        begun = _started(start, number, ids, inputs) if start else None
        trainer = Trainer(inputs, recipe, settings, (seed + number) % _SEEDS, start=begun)
        if budget and number == 0 and not epochs:
            passes = _agreed(trainer, passes, budget / len(plan), checkpoints)
        done = trainer.run(
            passes,
            name=str(number),
            told=_told(progress, number * passes, len(plan) * passes),
            until=began + budget * (number + 1) / len(plan) if budget else None,
            checkpoints=checkpoints,
        )
        trainer.close()
        parts.append(done.part)
        losses.append(done.losses)
        clocks.append(done.clock)
    towers = concatenate(ids, parts, [recipe.share for recipe in plan], tokens)
    made = sum(map(len, losses))
    return Fitted(
        towers=towers,
        objective=plan[0].objective,
        epochs=passes,
        steps=made * steps_per_pass(settings, inputs.events),
        losses=tuple(losses),
        seconds=time.monotonic() - began,
        settings=settings,
        seed=seed,
        warm=start is not None,
        budget_reached=passes < planned or made < passes * len(plan),
        input_share=sum(clock.input for clock in clocks)
        / max(1e-9, sum(clock.input + clock.steps for clock in clocks)),
    )


def step_times(events: Events, data: Dataset, settings: config.Train, seed: int, *, steps: int = 20) -> StepTimes:
    """Where the time of a training step goes, the mean of all parts of the model; arguments as in `fit`."""
    inputs, _, _, plan = _prepared(events, data, settings, None)
    found = []
    for number, recipe in enumerate(plan):
        trainer = Trainer(inputs, recipe, settings, (seed + number) % _SEEDS)
        found.append(trainer.step_times(steps))
        trainer.close()
    return StepTimes(
        *(float(np.mean([getattr(each, name) for each in found])) for name in ("input", "forward", "update"))
    )


def _prepared(
    events: Events, data: Dataset, settings: config.Train, start: HistoryTowers | None
) -> tuple[Inputs, pa.StringArray, Tokens, tuple[Recipe, ...]]:
    """What training goes by, the ids of the vocabulary, the tokens and one recipe per part."""
    events = data.human(events)
    if not len(events.items):
        raise DataError("no events to train on: widen the source, lower dataset.min_rating or choose a later run date")
    present = np.unique(events.items)
    rows = np.full(data.num_items, NO_ITEM, np.int32)
    rows[present] = np.arange(len(present), dtype=np.int32)
    tokens = start.tokens if start else _tokens(data, settings)
    inputs = Inputs(
        events=replace(events, items=rows[events.items]),
        titles=len(present),
        described=_described(tokens, data, events, present),
        profiles=tokens.users.codes(data.users),
        user_tokens=tokens.users.size,
    )
    rated = bool(np.isfinite(events.ratings).any())
    plan = recipes(settings, data.has_times, newcomers=bool(tokens.users.size), rated=rated)
    return inputs, data.item_ids.take(pa.array(present)), tokens, plan


def affordable_epochs(settings: config.Train, events: Events, *, warm: bool = False) -> int:
    """Passes over the users that `epochs` and `max_steps` allow, one at least; fewer for a model that goes on."""
    whole = min(settings.epochs, settings.max_steps // steps_per_pass(settings, events))
    return max(1, round(whole * settings.warm_epochs) if warm else whole)


def _agreed(trainer: Trainer, passes: int, seconds: float, checkpoints: Checkpoints | None) -> int:
    """The passes that a budget allows; those of an interrupted training, if there is one."""
    found = checkpoints.load("0") if checkpoints else None
    return int(found[1]["passes"]) if found else trainer.affordable_passes(passes, seconds)


def _tokens(data: Dataset, settings: config.Train) -> Tokens:
    return Tokens(
        FeatureSpace.fit(data.users, settings.user_features, "train.user_features"),
        FeatureSpace.fit(data.items, settings.item_features, "train.item_features"),
    )


def _described(tokens: Tokens, data: Dataset, events: Events, present: Int32s) -> Float32s:
    """Shape (vocabulary, item tokens): which a title has, for less the more of its own there is to learn from."""
    counts = np.bincount(events.items, minlength=data.num_items)[present]
    trust = 1 / (1 + counts / _EVENTS_FOR_HALF)
    return tokens.items.matrix(data.items.take(pa.array(present))) * trust[:, None].astype(np.float32)


def _started(start: HistoryTowers, number: int, ids: pa.StringArray, inputs: Inputs) -> Part:
    """A part of an earlier model over tonight's vocabulary."""
    part = start.parts[number]
    row = np.asarray(pc.fill_null(pc.index_in(ids, value_set=start.item_ids), NO_ITEM))
    known = row != NO_ITEM
    counts = np.bincount(inputs.events.items, minlength=inputs.titles)
    bias = np.log(counts / counts.mean()).astype(np.float32) + inputs.described @ part.token_bias
    history, candidates = inputs.described @ part.token_history, inputs.described @ part.token_candidates
    history[known], candidates[known] = part.history[row[known]], part.candidates[row[known]]
    bias[known] = part.candidate_bias[row[known]]
    return replace(part, history=history, candidates=candidates, candidate_bias=bias)


def _told(progress: Progress, before: int, total: int) -> Callable[[int], None]:
    return lambda done: progress("train", before + done, total)
