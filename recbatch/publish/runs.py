"""The life of a run's folder: staged, promoted or blocked, pointed at, adopted after a kill."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from recbatch import schemas, store, withdrawn
from recbatch.contracts import Json
from recbatch.errors import InputMissing, StorageFailed
from recbatch.publish.retired import retired
from recbatch.store import Lake

_BLOCKED_KEPT = 3


def next_run_id(lake: Lake, run_date: date) -> str:
    """The first run id of a date that no published, blocked or deleted run on record bears."""
    taken = [
        store.run_key(path.name)[1]
        for folder in (lake.runs, lake.blocked, lake.history)
        for path in store.matching(folder, f"{run_date}.*")
        if path.is_dir()
    ]
    return f"{run_date}.{max(taken, default=0) + 1}"


def stage(lake: Lake, run_id: str) -> Path:
    """An empty folder in staging for a run."""
    folder = lake.staging / run_id
    store.make_folder(folder)
    return folder


def promote(lake: Lake, folder: Path) -> None:
    """Moves a sealed run to its place; readers do not see it until the catalog is replaced."""
    store.move_folder(folder, lake.runs / folder.name)


def block(lake: Lake, folder: Path) -> Path:
    """Keeps a stopped run for inspection, the newest three of them; returns where it lies.

    It takes the place of what it was made from, where that was audited again.
    """
    target = lake.blocked / folder.name
    if target.is_dir():
        store.discard(lake, target)
    store.move_folder(folder, target)
    for path in run_folders(lake.blocked)[:-_BLOCKED_KEPT]:
        store.discard(lake, path)
    return target


def unblock(lake: Lake) -> None:
    """Deletes what `blocked/` holds of runs that were audited again and published."""
    for path in run_folders(lake.blocked):
        if lake.run(path.name).is_dir():
            store.discard(lake, path)


def latest(lake: Lake, run_id: str) -> Json:
    """What `latest.json` says of a run: per table its files with sha256, bytes and rows; what is withdrawn.

    And the sha256 of the catalog: DuckDB itself finds a changed bit only in the blocks that it happens to read.
    """
    folder = lake.run(run_id)
    manifest = store.read_checked_json(folder / store.MANIFEST)
    tables: dict[str, Json] = {
        table.name: {"rows": manifest["rows"][table.name], "files": []}
        for table in schemas.RUN_TABLES
        if table.name in manifest["rows"]  # a run of an earlier release may lack one
    }
    for name, facts in manifest["files"].items():
        table = name.split("/", 1)[0]
        if table in tables and name.endswith(".parquet"):
            tables[table]["files"].append({"path": f"runs/{run_id}/{name}", **facts})
    return {
        "contract": schemas.CONTRACT_VERSION,
        "run_id": run_id,
        "run_date": manifest["run_date"],
        "k": manifest["k"],
        "manifest_sha256": store.sha256_file(folder / store.MANIFEST),
        "tables": tables,
        "withdrawn": list(withdrawn.read(lake)),
        "catalog_sha256": store.sha256_file(lake.catalog) if lake.catalog.is_file() else None,
    }


def write_latest(lake: Lake, run_id: str) -> None:
    """Points readers without DuckDB at a run; a file that says so already is left alone."""
    wanted = latest(lake, run_id)
    try:
        current = store.read_checked_json(lake.latest)
        del current["checksum"]
    except (InputMissing, StorageFailed):
        current = {}
    if current != wanted:
        store.write_checked_json(lake.latest, wanted)


def catalog_differs(lake: Lake) -> bool:
    """Whether the catalog is not the one that `latest.json` was written for: damaged, or a kill fell between the two.

    False where `latest.json` cannot say.
    """
    try:
        told = store.read_checked_json(lake.latest).get("catalog_sha256")
    except (InputMissing, StorageFailed):
        return False
    return bool(told) and (not lake.catalog.is_file() or store.sha256_file(lake.catalog) != told)


def withdrawal_unfinished(lake: Lake) -> bool:
    """Whether titles were withdrawn or taken back, and a kill fell before every reader was told."""
    try:
        told = store.read_checked_json(lake.latest).get("withdrawn", [])
    except (InputMissing, StorageFailed):
        told = []
    return bool(told != list(withdrawn.read(lake)))


def orphans(lake: Lake, live: Iterable[str]) -> list[str]:
    """Sound runs that were promoted but did not reach the catalog: a kill fell between the two.

    They passed their audits, so the repair puts them into the catalog. Runs that were taken out on purpose
    (`retired`) and copies whose original still stands (`half_replaced`) are none.
    """
    known = {*live, *retired(lake)}
    unknown = [path for path in run_folders(lake.runs) if path.name not in known]
    return [path.name for path in unknown if not _is_half_replaced(path) and not store.faults(path)]


def run_folders(parent: Path) -> list[Path]:
    """The folders of runs below `runs/`, `blocked/` or `history/`, by date and number."""
    return sorted((path for path in store.matching(parent) if path.is_dir()), key=lambda path: store.run_key(path.name))


def half_replaced(parent: Path) -> list[Path]:
    """Copies made to supersede a run that still stands beside them: a kill fell before the exchange."""
    return [path for path in run_folders(parent) if _is_half_replaced(path)]


def _is_half_replaced(copy: Path) -> bool:
    old = _supersedes(copy)
    return old is not None and (copy.parent / old).is_dir()


def _supersedes(folder: Path) -> str | None:
    try:
        text = store.read_checked_json(folder / store.MANIFEST).get("supersedes")
    except (InputMissing, StorageFailed):
        return None
    return str(text) if text else None
