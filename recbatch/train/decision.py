"""Whether tonight trains."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np

from recbatch import config, store
from recbatch.contracts import NO_ITEM, Dataset, Json
from recbatch.errors import InputMissing, RecbatchError
from recbatch.model import HistoryTowers, vocabulary_positions
from recbatch.store import Lake
from recbatch.train.shelf import SERVED, load, model_heads, model_key, rejected, train_digest, trained_before


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to train, why, and the model to use."""

    train: bool
    reason: str
    """One sentence for the operator."""
    model_id: str | None
    """The model to use where `train` is false, the one that is replaced (if any) where it is true."""


def decide(
    lake: Lake, *, data: Dataset, run_date: date, settings: config.Train, seed: int, parent: str = ""
) -> Decision:
    """Decides by `settings.mode`. Models that have seen an event on or after the run date do not exist for it.

    Args:
        lake: where models stand.
        data: tonight's.
        run_date: D.
        settings: hyper-parameters and when to retrain.
        seed: the run's.
        parent: id of the model that training would start from, empty for none.

    Returns:
        The decision. A model with exactly tonight's data, settings and seed is used whatever the mode: it is what
        training would give, left behind by a run that was interrupted or is repeated.

    Raises:
        InputMissing: mode `never` and no usable model.
    """
    heads = [head for head in model_heads(lake) if trained_before(head) <= run_date]
    tonight = model_key(data, settings, seed, parent)
    if any(head["model_id"] == tonight for head in heads) and not store.faults(lake.models / tonight):
        return Decision(False, f"Model {tonight} was trained for exactly this night; it is used again.", tonight)
    refused = rejected(lake)
    heads = [head for head in heads if head["model_id"] not in refused]
    if settings.mode == "always":
        return Decision(True, "Training was asked for (mode always).", _newest(heads))
    usable = _usable(lake, heads)
    if usable is None:
        return _without_model(lake, run_date, settings, heads)
    head, towers = usable
    reason = None if settings.mode == "never" else _outdated(head, towers, data, settings, seed)
    if reason:
        return Decision(True, reason, head["model_id"])
    return Decision(False, f"Model {head['model_id']} is {_age(head, run_date)} old and still fits.", head["model_id"])


def predecessor(lake: Lake, parent: Json | None, data: Dataset, settings: config.Train, seed: int) -> str:
    """The model that a training of tonight may go on from: that of the parent run.

    Args:
        lake: where models stand.
        parent: manifest of the parent run, if there is one.
        data: tonight's.
        settings: hyper-parameters; any other than the parent's mean new weights.
        seed: the run's.

    Returns:
        Its id; empty if it is none, damaged, stopped by the gate, or the last of `max_warm_starts` in a row.
    """
    model_id = str((parent or {}).get("model_id") or "")
    heads = [head for head in model_heads(lake) if head["model_id"] == model_id]
    if not settings.warm_start or not heads or model_id in rejected(lake) or store.faults(lake.models / model_id):
        return ""
    head = heads[0]
    same = head["train_digest"] == train_digest(settings) and head["seed"] == seed
    goes_on = head.get("warm_starts", 0) < settings.max_warm_starts and trained_before(head) < data.run_date
    timed = head["objective"] == settings.objective  # `next` without times is another model
    return model_id if same and goes_on and timed else ""


def vocabulary_drift(data: Dataset, towers: HistoryTowers, since: date) -> float:
    """Share of the events since a day (of all events where none has a time) on titles the model does not know."""
    start = int(datetime(since.year, since.month, since.day, tzinfo=UTC).timestamp()) * 1_000_000
    recent = data.events.items[data.events.occurred_at >= start] if data.has_times else data.events.items
    return float(np.mean(vocabulary_positions(data, towers)[recent] == NO_ITEM)) if len(recent) else 0.0


def _outdated(head: Json, towers: HistoryTowers, data: Dataset, settings: config.Train, seed: int) -> str | None:
    age = (data.run_date - trained_before(head)).days
    if head["train_digest"] != train_digest(settings) or head["seed"] != seed:
        return f"Settings or seed differ from those of model {head['model_id']}."
    if age > settings.max_model_age_days:
        return f"Model {head['model_id']} is {age} days old, more than train.max_model_age_days."
    drift = vocabulary_drift(data, towers, trained_before(head))
    if drift > settings.max_vocabulary_drift:
        return f"{drift:.1%} of the events since {head['trained_before']} are on titles unknown to {head['model_id']}."
    return None


def _usable(lake: Lake, heads: list[Json]) -> tuple[Json, HistoryTowers] | None:
    for head in reversed(heads):
        try:
            return head, load(lake, head["model_id"], SERVED)
        except RecbatchError:
            continue
    return None


def _without_model(lake: Lake, run_date: date, settings: config.Train, heads: list[Json]) -> Decision:
    missing = f"no sound model trained before {run_date}" if heads else f"no model trained before {run_date}"
    if settings.mode == "never":
        raise InputMissing(f"{lake.models}: {missing}; run once with `--train auto`")
    return Decision(True, f"There is {missing}.", None)


def _newest(heads: list[Json]) -> str | None:
    return heads[-1]["model_id"] if heads else None


def _age(head: Json, run_date: date) -> str:
    days = (run_date - trained_before(head)).days
    return f"{days} day" if days == 1 else f"{days} days"
