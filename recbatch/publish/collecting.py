"""Which runs and models nobody needs any more, and what stays of a run that is deleted.

    LAKE/history/<run_id>/run.json, metrics/…, audits/…, manifest.json

`run.json` is the manifest of the run as it was; `manifest.json` seals the folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from recbatch import schemas, store
from recbatch.contracts import Json
from recbatch.errors import InputMissing, StorageFailed
from recbatch.publish.retired import rolled_back
from recbatch.publish.runs import run_folders
from recbatch.store import Lake, run_key

if TYPE_CHECKING:
    from recbatch.config import Gc

RUN_JSON = "run.json"


def superseded(manifests: Mapping[str, Json]) -> dict[str, datetime]:
    """When each live run stopped being what readers see: when the next one above it was finished.

    Args:
        manifests: of the live runs, by run id.

    Returns:
        Run id → time, the latest run left out. An older date that was published later than the runs above it was
        superseded from its first moment on.
    """
    finished = {run_id: datetime.fromisoformat(head["finished_at"]) for run_id, head in manifests.items()}
    found = {}
    for run_id, own in finished.items():
        above = [time for other, time in finished.items() if run_key(other) > run_key(run_id)]
        if above:
            found[run_id] = max(own, min(above))
    return found


def collectable(lake: Lake, manifests: Mapping[str, Json], settings: Gc, now: datetime) -> list[str]:
    """The runs beyond both limits, by date and number: live ones and ones that were rolled back.

    Args:
        lake: knows what was rolled back.
        manifests: of the live runs, by run id.
        settings: the limits.
        now: the time, UTC.
    """
    left = superseded(manifests)
    left |= {run_id: datetime.fromisoformat(note["at"]) for run_id, note in rolled_back(lake).items()}
    limit = now - timedelta(days=settings.keep_days)

    def newer(run_id: str) -> int:
        return sum(run_key(other) > run_key(run_id) for other in manifests)

    old = [run_id for run_id, time in left.items() if time < limit and newer(run_id) >= settings.keep_runs]
    return sorted(old, key=run_key)


def unused_models(lake: Lake, doomed: list[str]) -> list[Path]:
    """Models that no run refers to once the doomed ones are gone, except the newest; by name.

    Runs that were rolled back or blocked count as well as live ones.
    """
    kept = [path for path in (*run_folders(lake.runs), *run_folders(lake.blocked)) if path.name not in doomed]
    used = {head.get("model_id") for head in map(_head, kept)}
    models = {path: _head(path) for path in sorted(lake.models.glob("m-*"))}
    newest = max(models, key=lambda path: (models[path].get("trained_before", ""), path.name), default=None)
    return [path for path in models if path.name not in used and path != newest]


def unused_input(lake: Lake, latest: Json | None) -> list[Path]:
    """Kept rows of input files that the newest live run has not read, and damaged ones; by name.

    Args:
        lake: where they stand.
        latest: the run's manifest; none: nobody needs any.
    """
    wanted = {file["sha256"] for file in (latest or {}).get("inputs", [])}
    return [entry for entry in sorted(lake.cache.glob("*")) if _head(entry).get("file_sha256") not in wanted]


def archive(lake: Lake, run_id: str, now: datetime) -> Path:
    """Keeps manifest, metrics and audits of a run that is about to be deleted; what is there already is left alone."""
    source, target = lake.run(run_id), lake.history / run_id
    if target.is_dir() and not store.faults(target):
        return target
    if target.is_dir():
        store.discard(lake, target)
    staged = lake.staging / f"history-{run_id}"
    store.make_folder(staged)
    manifest = store.read_checked_json(source / store.MANIFEST)
    store.write_checked_json(staged / RUN_JSON, manifest)
    for table in (schemas.METRICS, schemas.AUDITS):
        shutil.copytree(source / table.name, staged / table.name)
    store.seal(staged, {"run_id": run_id, "run_date": manifest["run_date"], "deleted_at": now.isoformat()})
    store.make_folder(lake.history)
    store.move_folder(staged, target)
    return target


def expired_history(lake: Lake, settings: Gc, now: datetime) -> list[Path]:
    """What stays of deleted runs for longer than it has to."""
    limit = now - timedelta(days=settings.keep_history_days)
    heads = {path: _head(path) for path in run_folders(lake.history)}
    return [path for path, head in heads.items() if head and datetime.fromisoformat(head["deleted_at"]) < limit]


def _head(folder: Path) -> Json:
    """The manifest; empty where there is none that can be read."""
    try:
        return store.read_checked_json(folder / store.MANIFEST)
    except (InputMissing, StorageFailed):
        return {}
