"""Tonight's model: reloaded or trained, in two sets of weights, one to be judged and one to be served."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from recbatch import split, train
from recbatch.config import Config, seconds
from recbatch.contracts import Dataset, Events, Json, Progress, Split, Towers, no_progress
from recbatch.errors import InputMissing, StorageFailed
from recbatch.model import HistoryTowers
from recbatch.store import Lake

from ._force import returning_weight
from ._say import Say

TakeTrained = Callable[[date, str, Split], "Trained | None"]
"""Run date, model id and split → what was trained for them already, if anything was."""


@dataclass(frozen=True, slots=True)
class Model:
    """Both sets of weights, how they came about, and the events that the judged ones have not seen."""

    model_id: str
    served: Towers
    judged: Judged
    held_out: Split
    reason: str
    trained: bool
    head: Json

    def served_from(self, data: Dataset) -> Events:
        """The events that the served weights were trained on, as far as tonight's data still has them."""
        return _before(data.events, self.head["trained_before"])


@dataclass(frozen=True, slots=True)
class Judged:
    """Judged weights and the events that they were trained on."""

    towers: Towers
    learned_from: Events


def fit_or_reload(
    lake: Lake, data: Dataset, config: Config, parent: Json | None, say: Say, ahead: TakeTrained | None = None
) -> Model:
    """Decides whether to train, trains or loads, and splits the events so that the judged weights meet new ones only.

    Args:
        lake: where models stand.
        data: tonight's.
        config: settings.
        parent: manifest of the parent run.
        say: hears of the decision and of training.
        ahead: gives what was trained for this date already, by run date, model id and split.

    Raises:
        InputMissing: `--train never` and there is no usable model.
        DataError: nothing to train on.
    """
    start = train.predecessor(lake, parent, data, config.train, config.seed)
    decision = train.decide(
        lake, data=data, run_date=data.run_date, settings=config.train, seed=config.seed, parent=start
    )
    say.event("decision", train=decision.train, reason=decision.reason, model_id=decision.model_id)
    boundary = _date(parent, "judged_before")
    if decision.train or decision.model_id is None:
        parts = split.by_time(data, config.judge, not_before=boundary)
        model_id = _train(lake, data, parts, config, start, say, ahead)
    else:
        model_id = decision.model_id
    return _from_shelf(lake, model_id, data, config, boundary, reason=decision.reason, trained=decision.train)


def of_parent(lake: Lake, data: Dataset, config: Config, parent: Json, reason: str) -> Model | None:
    """The parent's model with today's histories; none if the parent had none, or it is damaged."""
    try:
        return _from_shelf(
            lake, parent["model_id"], data, config, _date(parent, "judged_before"), reason=reason, trained=False
        )
    except (InputMissing, StorageFailed):
        return None


def _from_shelf(
    lake: Lake, model_id: str, data: Dataset, config: Config, boundary: date | None, *, reason: str, trained: bool
) -> Model:
    """A stored model; its judged weights meet only events on or after the day up to which they were trained."""
    head = _head(lake, model_id)
    boundaries = [day for day in (boundary, _date(head, "judged_before")) if day]
    parts = split.by_time(data, config.judge, not_before=max(boundaries, default=None))
    judged, served = train.load_both(lake, model_id)
    return Model(
        model_id=model_id,
        served=served,
        judged=Judged(judged, _before(parts.train, head["judged_before"])),
        held_out=parts,
        reason=reason,
        trained=trained,
        head=head,
    )


def judged_weights(lake: Lake, model_id: str, parts: Split) -> Judged | None:
    """Another model's judged weights; none if they are damaged or have seen any of the held-out events."""
    try:
        head = _head(lake, model_id)
        seen_before = _date(head, "judged_before")
        towers = train.load(lake, model_id, train.JUDGED)
    except (InputMissing, StorageFailed):
        return None
    too_late = seen_before is not None and (parts.judge_from is None or parts.judge_from.date() < seen_before)
    return None if too_late else Judged(towers, _before(parts.train, head["judged_before"]))


def _before(events: Events, day: str | None) -> Events:
    """The events before a day (ISO date), all where there is none; those without a time lie before every day."""
    return events if day is None else events.where(events.occurred_at < split.microseconds(date.fromisoformat(day)))


@dataclass(frozen=True, slots=True)
class Trained:
    """Both sets of weights, fresh from training; the same object where everything happened inside the judged slice."""

    judged: train.Fitted
    served: train.Fitted
    judge_from: datetime | None
    protocol: str
    returning_weight: float


def train_both(
    data: Dataset,
    parts: Split,
    config: Config,
    *,
    start: Callable[[Literal["judged", "served"]], HistoryTowers] | None = None,
    checkpoints: Path | None = None,
    progress: Progress = no_progress,
) -> Trained:
    """Trains both sets of weights, as long as each other.

    Args:
        data: tonight's.
        parts: the judged slice.
        config: settings.
        start: gives the weights of the model to go on from.
        checkpoints: folder for what a killed training goes on from.
        progress: called after every epoch.

    Raises:
        DataError: nothing to train on.
    """
    settings, began = config.train, time.monotonic()
    budget = seconds(settings.budget) if settings.budget else None

    def fit(
        events: Events, which: Literal["judged", "served"], budget: float | None, epochs: int | None
    ) -> train.Fitted:
        return train.fit(
            events,
            data,
            settings,
            config.seed,
            epochs=epochs,
            start=start(which) if start else None,
            budget=budget,
            checkpoints=train.Checkpoints(checkpoints / which) if checkpoints else None,
            progress=progress,
        )

    if not data.has_human(parts.train):
        # One set of weights, which no slice before tonight can judge.
        both = fit(data.events, train.SERVED, budget, None)
        return Trained(both, both, parts.judge_from, parts.protocol, 1.0)
    judged = fit(parts.train, train.JUDGED, budget and budget / 2, None)
    left = budget and max(1.0, budget - (time.monotonic() - began))
    served = fit(data.events, train.SERVED, left, judged.epochs)
    served = replace(served, budget_reached=judged.budget_reached or served.budget_reached)
    weight = returning_weight(judged.towers, data, parts, config)
    judged, served = (replace(one, towers=replace(one.towers, returning_weight=weight)) for one in (judged, served))
    return Trained(judged, served, parts.judge_from, parts.protocol, weight)


def _train(
    lake: Lake, data: Dataset, parts: Split, config: Config, parent: str, say: Say, ahead: TakeTrained | None
) -> str:
    """Trains both sets of weights, each from the same set of the model before, and puts them on the shelf."""
    settings, seed = config.train, config.seed
    key = train.model_key(data, settings, seed, parent)
    early = ahead(data.run_date, key, parts) if ahead else None
    done = early or train_both(
        data,
        parts,
        config,
        start=functools.partial(train.load, lake, parent) if parent else None,
        checkpoints=lake.resume / key,
        progress=say.progress,
    )
    judged, served = done.judged, done.served
    judged_before = parts.judge_from.date() if parts.judge_from else None
    if judged is served:
        judged_before = data.run_date
    warm = _head(lake, parent).get("warm_starts", 0) + 1 if parent else 0
    head = train.model_head(data, settings, seed, parent, warm)
    head |= {"judged_before": judged_before.isoformat() if judged_before else None, "judge_protocol": parts.protocol}
    say.event(
        "trained",
        objective=served.objective,
        epochs=served.epochs,
        started_from=parent or None,
        ahead=early is not None,
        returning_weight=done.returning_weight,
        budget_reached=served.budget_reached,
        input_share=round(served.input_share, 3),
        seconds=round(judged.seconds + served.seconds, 1),
    )
    if served.objective != settings.objective:
        say.event("objective", wanted=settings.objective, used=served.objective, reason="no event has a time")
    return train.save(lake, judged, served, head)


def _head(lake: Lake, model_id: str) -> Json:
    for head in train.model_heads(lake):
        if head["model_id"] == model_id:
            return head
    raise StorageFailed(f"{lake.models / model_id}: its manifest cannot be read; train anew with --train always")


def _date(head: Json | None, key: str) -> date | None:
    return date.fromisoformat(head[key]) if head and head.get(key) else None
