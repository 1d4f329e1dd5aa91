"""Tonight's model: reloaded or trained, in two sets of weights, one to be judged and one to be served."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from recbatch import split, train
from recbatch.config import Config
from recbatch.contracts import Dataset, Events, Json, Split, Towers
from recbatch.errors import InputMissing, StorageFailed
from recbatch.store import Lake

from ._say import Say


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


def fit_or_reload(lake: Lake, data: Dataset, config: Config, parent: Json | None, say: Say) -> Model:
    """Decides whether to train, trains or loads, and splits the events so that the judged weights meet new ones only.

    Raises:
        InputMissing: `--train never` and there is no usable model.
        DataError: nothing to train on.
    """
    decision = train.decide(lake, data=data, run_date=data.run_date, settings=config.train, seed=config.seed)
    say.event("decision", train=decision.train, reason=decision.reason, model_id=decision.model_id)
    boundary = _date(parent, "judged_before")
    if decision.train or decision.model_id is None:
        model_id = _train(lake, data, split.by_time(data, config.judge, not_before=boundary), config, say)
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
    return Model(
        model_id=model_id,
        served=train.load(lake, model_id, train.SERVED),
        judged=Judged(train.load(lake, model_id, train.JUDGED), _before(parts.train, head["judged_before"])),
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


def _train(lake: Lake, data: Dataset, parts: Split, config: Config, say: Say) -> str:
    judged_before = parts.judge_from.date() if parts.judge_from else None
    if len(parts.train.items):
        judged = train.fit(parts.train, data, config.train, config.seed, progress=say.progress)
        served = train.fit(data.events, data, config.train, config.seed, epochs=judged.epochs, progress=say.progress)
    else:
        # Everything happened inside the judged slice: one set of weights, which no slice before tonight can judge.
        judged = served = train.fit(data.events, data, config.train, config.seed, progress=say.progress)
        judged_before = data.run_date
    head = train.model_head(data, config.train, config.seed)
    head |= {"judged_before": judged_before.isoformat() if judged_before else None, "judge_protocol": parts.protocol}
    say.event(
        "trained", objective=served.objective, epochs=served.epochs, seconds=round(judged.seconds + served.seconds, 1)
    )
    return train.save(lake, judged, served, head)


def _head(lake: Lake, model_id: str) -> Json:
    for head in train.model_heads(lake):
        if head["model_id"] == model_id:
            return head
    raise StorageFailed(f"{lake.models / model_id}: its manifest cannot be read; train anew with --train always")


def _date(head: Json | None, key: str) -> date | None:
    return date.fromisoformat(head[key]) if head and head.get(key) else None
