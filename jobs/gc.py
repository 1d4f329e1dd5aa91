"""`recbatch gc`: deletes the runs and models that nobody needs any more."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from recbatch import config, index, publish, store
from recbatch.config import Config
from recbatch.contracts import Json
from recbatch.store import Lake

from . import _lake
from ._options import config_options, json_option, lake_option, print_json
from ._say import now


@click.command()
@lake_option
@config_options
@json_option
@click.option("--dry-run", is_flag=True, help="List what would be deleted, and delete nothing.")
def gc(lake: Lake, settings: Callable[[dict[str, Any]], Config], as_json: bool, dry_run: bool) -> None:
    """Delete runs beyond both limits, 7 days since they were superseded and the newest 7, and models without a run.

    The manifest, metrics, audits and outcomes of a deleted run stay for 400 days below history/ and outcomes/.

    \b
    recbatch gc --dry-run --lake lake
    recbatch gc --set gc.keep_runs=14 --lake lake
    """
    chosen = settings({}).gc
    lake.require()
    with store.locked(lake):
        try:
            done = collect(lake, chosen, now(), dry_run=dry_run)
        finally:
            store.empty_folder(lake.staging)
    print_json(done) if as_json else click.echo(_sentence(done, dry_run))


def collect(lake: Lake, settings: config.Gc, at: datetime, *, dry_run: bool = False) -> Json:
    """Deletes what is beyond the limits; the caller holds the lock.

    A run leaves readers first: its note in `retired.json`, then the catalog, then the folder. A kill in between is
    finished by the next repair.

    Args:
        lake: its runs are repaired first.
        settings: the limits.
        at: the time, UTC.
        dry_run: only say what would go.

    Returns:
        `runs`, `models`, `history` and `inputs` (kept rows of input files), the names of what went, and `bytes`, what
        that freed.
    """
    live = _lake.repair(lake)
    doomed = publish.collectable(lake, {run_id: _lake.manifest_of(lake, run_id) for run_id in live}, settings, at)
    models = publish.unused_models(lake, doomed)
    history = publish.expired_history(lake, settings, at)
    inputs = publish.unused_input(lake, _lake.manifest_of(lake, live[-1]) if live else None)
    folders = [*map(lake.run, doomed), *models, *history, *inputs]
    done = {
        "runs": doomed,
        "models": [path.name for path in models],
        "history": [path.name for path in history],
        "inputs": [path.name for path in inputs],
        "bytes": sum(map(_bytes, folders)),
    }
    if dry_run:
        return done
    for run_id in doomed:
        publish.archive(lake, run_id, at)
    publish.retire(lake, {run_id: {"reason": publish.COLLECTED, "at": at.isoformat(), "to": None} for run_id in doomed})
    left = [run_id for run_id in live if run_id not in doomed]
    if left != live:
        _lake.commit(lake, left)
    publish.settle(lake, left)
    for folder in [*models, *history, *inputs, *(lake.outcomes / path.name for path in history)]:
        if folder.is_dir():
            store.discard(lake, folder)
    for model in models:
        for path in index.decisions.files(lake, model.name):
            path.unlink()
    return done


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _sentence(done: Json, dry_run: bool) -> str:
    words = [f"{key} {', '.join(done[key])}" for key in ("runs", "models", "history", "inputs") if done[key]]
    if not words:
        return "nothing to delete"
    return f"{'would delete' if dry_run else 'deleted'} {'; '.join(words)}: {done['bytes'] / 1e6:,.1f} MB"
