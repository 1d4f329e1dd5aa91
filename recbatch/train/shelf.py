"""Models in the lake.

    models/<model_id>/manifest.json                      head and sha256 of every file
    models/<model_id>/settings.json, decisions.json
    models/<model_id>/{judged,served}/<array>.npy, vocabulary.arrow, tokens.json
    models/rejected.json                                 models that the gate stopped, and why

A folder appears whole and never changes. Its id says everything it depends on, so a model that is there already is the
model that would be trained. Arrays are plain numbers: nothing read here can run code.
"""

from __future__ import annotations

import hashlib
import re
from datetime import date
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from recbatch import config, schemas, store
from recbatch.contracts import Dataset, Json
from recbatch.errors import RecbatchError, StorageFailed, UsageError
from recbatch.model import FeatureSpace, HistoryTowers, Tokens
from recbatch.store import Lake
from recbatch.train.fitting import Fitted
from recbatch.train.recipes import RECIPE_VERSION

JUDGED: Literal["judged"] = "judged"
"""Trained on events before the judged slice: the gate's."""
SERVED: Literal["served"] = "served"
"""Refitted on every event before the run date: the readers'."""

_REJECTED = "rejected.json"
_MODEL_ID = re.compile(r"m-\d{4}-\d{2}-\d{2}-[0-9a-f]{12}")
_WHEN_TO_TRAIN = {"mode", "max_model_age_days", "max_vocabulary_drift", "warm_start", "max_warm_starts"}
"""Settings that say when to train, not what comes out."""


def train_digest(settings: config.Train) -> str:
    """Hex sha256 over the settings that shape the weights, and the version of the recipe behind them."""
    values = settings.model_dump(mode="json", exclude=_WHEN_TO_TRAIN)
    if not settings.rating_weight:
        del values["rating_weight"]  # as if there were no such setting
    return hashlib.sha256(store.canonical(values | {"recipe_version": RECIPE_VERSION})).hexdigest()


def model_key(data: Dataset, settings: config.Train, seed: int, parent: str = "") -> str:
    """The id of the model that this training would give: `m-<run date>-<12 hex>`.

    Args:
        data: the night's events; the run date and the fingerprint count.
        settings: hyper-parameters.
        seed: the run's.
        parent: id of the model it starts from, empty for none.
    """
    depends_on: Json = {"data": data.fingerprint, "train": train_digest(settings), "seed": seed, "parent": parent}
    return f"m-{data.run_date.isoformat()}-{hashlib.sha256(store.canonical(depends_on)).hexdigest()[:12]}"


def model_head(data: Dataset, settings: config.Train, seed: int, parent: str = "", warm_starts: int = 0) -> Json:
    """What a model's manifest says of its origin, `model_id` and `trained_before` (ISO date) among it."""
    return {
        "contract": schemas.CONTRACT_VERSION,
        "model_id": model_key(data, settings, seed, parent),
        "trained_before": data.run_date.isoformat(),
        "fingerprint": data.fingerprint,
        "train_digest": train_digest(settings),
        "seed": seed,
        "parent": parent,
        "warm_starts": warm_starts,
    }


def save(lake: Lake, judged: Fitted, served: Fitted, head: Json) -> str:
    """Puts a model on the shelf; one that is there already and sound is left as it is.

    Args:
        lake: locked by the caller.
        judged: trained on events before the judged slice.
        served: refitted on everything before the run date.
        head: of `model_head`, and whatever else the manifest shall say.

    Returns:
        The model id.

    Raises:
        OSError: the file system refuses; nothing appears on the shelf.
    """
    model_id = checked_model_id(head["model_id"])
    if not store.faults(lake.models / model_id):
        return model_id
    lake.create()
    staged = lake.staging / model_id
    _remove(staged)
    for which, fitted in ((JUDGED, judged), (SERVED, served)):
        _write_towers(staged / which, fitted.towers)
    decisions: Json = {which: _decisions(fitted) for which, fitted in ((JUDGED, judged), (SERVED, served))}
    store.write_checked_json(staged / "settings.json", served.settings.model_dump(mode="json"))
    store.write_checked_json(staged / "decisions.json", decisions)
    store.seal(staged, head | decisions[SERVED] | {"dim": served.towers.dim, "titles": len(served.towers.item_ids)})
    _remove(lake.models / model_id)  # damaged, or it would have been reused
    store.move_folder(staged, lake.models / model_id)
    return model_id


def load(lake: Lake, model_id: str, which: Literal["judged", "served"] = "served") -> HistoryTowers:
    """A model's towers, after every byte of the folder has met the manifest.

    Raises:
        InputMissing: no such model.
        StorageFailed: a file is missing, foreign or changed.
        UsageError: the text is no model id.
    """
    folder = lake.models / checked_model_id(model_id)
    store.unseal(folder)
    return _towers(folder, which)


def load_both(lake: Lake, model_id: str) -> tuple[HistoryTowers, HistoryTowers]:
    """The judged towers of a model and the served ones; raises what `load` does."""
    folder = lake.models / checked_model_id(model_id)
    store.unseal(folder)
    return _towers(folder, JUDGED), _towers(folder, SERVED)


def _towers(folder: Path, which: str) -> HistoryTowers:
    arrays = {path.stem: np.load(path, allow_pickle=False) for path in store.matching(folder / which, "*.npy")}
    with pa.memory_map(str(folder / which / "vocabulary.arrow")) as file:
        table = pa.ipc.open_file(file).read_all()
    if not (folder / which / "tokens.json").is_file():
        raise StorageFailed(f"{folder}: written by an older recbatch; train anew with --train always")
    known = store.read_checked_json(folder / which / "tokens.json")
    tokens = Tokens(FeatureSpace.from_json(known["users"]), FeatureSpace.from_json(known["items"]))
    return HistoryTowers.from_arrays(table["item_id"].combine_chunks(), arrays, tokens)


def model_heads(lake: Lake) -> list[Json]:
    """The manifests of the models on the shelf, by run date and id; folders without a readable one are left out."""
    found = []
    for folder in store.matching(lake.models, "m-*"):
        try:
            found.append(store.read_checked_json(folder / store.MANIFEST))
        except RecbatchError:
            continue
    return sorted(found, key=lambda head: (head["trained_before"], head["model_id"]))


def reject(lake: Lake, model_id: str, why: str) -> None:
    """Records that the gate stopped a model: no other night will load it by itself.

    The model stays on the shelf for inspection, and for the night that it was trained for, which would train it again.

    Raises:
        OSError: the file system refuses.
    """
    store.write_checked_json(lake.models / _REJECTED, {"models": rejected(lake) | {checked_model_id(model_id): why}})


def rejected(lake: Lake) -> dict[str, str]:
    """Model id → why the gate stopped it; empty where there is no record, or none that can be read."""
    try:
        return dict(store.read_checked_json(lake.models / _REJECTED)["models"])
    except RecbatchError:
        return {}


def trained_before(head: Json) -> date:
    """The run date of a model: it has seen no event on or after it."""
    return date.fromisoformat(head["trained_before"])


def checked_model_id(text: str) -> str:
    """The text, if it is a model id.

    Raises:
        UsageError: it is not of the form m-YYYY-MM-DD-<12 hex>.
    """
    if not _MODEL_ID.fullmatch(text):
        raise UsageError(f"{text!r} is no model id: expected m-YYYY-MM-DD-<12 hex>; `recbatch runs` names them")
    return text


def _decisions(fitted: Fitted) -> Json:
    return {
        "objective": fitted.objective,
        "epochs": fitted.epochs,
        "steps": fitted.steps,
        "warm": fitted.warm,
        "budget_reached": fitted.budget_reached,
        "losses": [[round(loss, 6) for loss in curve] for curve in fitted.losses],
    }


def _write_towers(folder: Path, towers: HistoryTowers) -> None:
    store.make_folder(folder)
    for name, array in towers.to_arrays().items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    tokens: Json = {"users": towers.tokens.users.to_json(), "items": towers.tokens.items.to_json()}
    store.write_checked_json(folder / "tokens.json", tokens)
    table = pa.table({"item_id": towers.item_ids})
    with pa.OSFile(str(folder / "vocabulary.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        store.empty_folder(folder)
        folder.rmdir()
