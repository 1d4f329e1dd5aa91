"""Decisions taken by timing, beside the model that they were taken with, so that every rerun takes them again.

    models/decisions/<model_id>-<k>.json     one file, whole and with its checksum

The folders of models are immutable, and k is not theirs: hence a file of its own.
"""

from __future__ import annotations

from pathlib import Path

from recbatch import _threads, store
from recbatch.config import Index as Settings
from recbatch.contracts import Json
from recbatch.errors import RecbatchError
from recbatch.index.calibrate import Calibration
from recbatch.store import Lake

FOLDER = "decisions"


def _path(lake: Lake, model_id: str, k: int) -> Path:
    return lake.models / FOLDER / f"{model_id}-{k}.json"


def stored(
    lake: Lake, model_id: str, k: int, settings: Settings, *, eligible: str | None = None
) -> dict[str, Calibration]:
    """What an earlier night decided, by what was searched (`lists`, `similar`).

    Empty where nobody decided, on another number of cores, for other settings or eligible titles, or where the file is
    damaged (`recbatch verify` reports that): then tonight measures.
    """
    try:
        found = store.read_checked_json(_path(lake, model_id, k))
    except RecbatchError:
        return {}
    if found["depends_on"] != _depends_on(settings, eligible):
        return {}
    return {name: Calibration.of_facts(facts) for name, facts in found["calibrations"].items()}


def keep(
    lake: Lake,
    model_id: str,
    k: int,
    settings: Settings,
    taken: dict[str, Calibration],
    *,
    eligible: str | None = None,
) -> None:
    """Stores decisions that depend on measured times; without one nothing is written.

    Raises:
        OSError: the file system refuses.
    """
    timed = {name: calibration.facts for name, calibration in taken.items() if calibration.timed}
    if not timed or all(calibration.replayed for calibration in taken.values() if calibration.timed):
        return
    store.make_folder(lake.models / FOLDER)
    facts: Json = {"model_id": model_id, "k": k, "depends_on": _depends_on(settings, eligible), "calibrations": timed}
    store.write_checked_json(_path(lake, model_id, k), facts)


def files(lake: Lake, model_id: str = "") -> list[Path]:
    """The files of one model, or of all, by name."""
    return store.matching(lake.models / FOLDER, f"{model_id}*.json")


def damage(lake: Lake) -> list[str]:
    """One line per file that differs from its checksum."""
    found = []
    for path in files(lake):
        try:
            store.read_checked_json(path)
        except RecbatchError as error:
            found.append(str(error))
    return found


def _depends_on(settings: Settings, eligible: str | None) -> Json:
    chosen = settings.model_dump(mode="json") | {"cores": _threads.workers()}
    return chosen | ({"eligible": eligible} if eligible else {})
