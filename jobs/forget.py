"""`recbatch forget USER`: the user vanishes from the lake, and from every night to come."""

from __future__ import annotations

import shutil
from datetime import date, datetime
from pathlib import Path

import click
import pyarrow.parquet as pq

from recbatch import lookup, publish, report, schemas, store, views
from recbatch import outcomes as judging
from recbatch.contracts import Json
from recbatch.errors import UsageError
from recbatch.store import Lake, run_key

from . import _lake
from ._options import json_option, lake_option, print_json
from ._say import now
from .report import past_nights


@click.command()
@click.argument("user")
@lake_option
@json_option
def forget(user: str, lake: Lake, as_json: bool) -> None:
    """Take USER out of every run, outcome, quarantine, blocked run and record, and drop their events from now on.

    A run that held them is published again without them under the next number of its date, and the old one is deleted:
    connections that were open before must be opened again. The source is yours to clean; models hold no user, and the
    next one is trained without.

    \b
    recbatch forget 196 --lake lake
    """
    lake.require()
    if not user:
        raise UsageError("an empty user id; name the user to forget, e.g. recbatch forget 196")
    with store.locked(lake):
        try:
            done = erase(lake, user, now())
        finally:
            store.empty_folder(lake.staging)
    print_json(done) if as_json else click.echo(_sentence(done))


def erase(lake: Lake, user: str, at: datetime) -> Json:
    """Forgets a user; the caller holds the lock.

    Args:
        lake: its runs are repaired first.
        user: the id.
        at: the time that the notes in `retired.json` bear.

    Returns:
        `runs` and `blocked`, old run id → the one without the user; `outcomes` and `history`, folders that changed.

    Raises:
        StorageFailed: a run is damaged; nothing is changed then.
    """
    live = _lake.repair(lake)
    for parent in (lake.runs, lake.blocked, lake.history):
        for folder in publish.run_folders(parent):
            store.unseal(folder)
    publish.remember(lake, user)
    return finish(lake, live, user, at)


def finish(lake: Lake, live: list[str], user: str, at: datetime) -> Json:
    """Takes out what there is of a user; called again after a kill, it goes on.

    Copies are made first, beside what readers see. Then, as in `publish.retired`: notes, catalog, old folders.
    """
    runs = _copies(lake, lake.runs, user, live)
    blocked = _copies(lake, lake.blocked, user, live)
    followed = _follow(lake, user)
    outcomes = publish.rewrite_outcomes(lake, user)
    history = publish.rewrite_history(lake, user)
    aside = {
        runs.get(run_id, run_id): note | {"to": runs.get(note["to"], note["to"])}
        for run_id, note in publish.rolled_back(lake).items()
    }
    superseded = {old: {"reason": publish.SUPERSEDED, "at": at.isoformat(), "to": new} for old, new in runs.items()}
    publish.retire(lake, aside | superseded)
    _lake.commit(lake, [runs.get(run_id, run_id) for run_id in live])
    publish.settle(lake, [runs.get(run_id, run_id) for run_id in live])
    for folder in [*(lake.blocked / old for old in blocked), *outcomes, *followed]:
        if folder.is_dir():
            store.discard(lake, folder)
    _lake.forget_progress(lake)
    _lake.forget_input(lake)
    publish.done(lake, user)
    return {"runs": runs, "blocked": blocked, "outcomes": len(outcomes) + len(followed), "history": history}


def _follow(lake: Lake, user: str) -> list[Path]:
    """Gives the newest outcome of each run that was published again to the new run, measured without the user.

    Returns:
        What happened after the old runs, to delete once the catalog no longer names it.
    """
    old = []
    for folder in publish.run_folders(lake.runs):
        head = store.read_checked_json(folder / store.MANIFEST)
        before = lake.outcomes / head["supersedes"] if head.get("supersedes") else None
        if before is None or not before.is_dir():
            continue
        old.append(before)
        numbers = [path for path in before.iterdir() if path.name.isdecimal()]
        if numbers and not (lake.outcomes / folder.name).is_dir():
            _measure_again(lake, max(numbers, key=lambda path: int(path.name)), user, head)
    return old


def _measure_again(lake: Lake, outcome: Path, user: str, run: Json) -> None:
    staged = lake.staging / f"outcome-{run['run_id']}"
    store.make_folder(staged)
    publish.copy_without(outcome, staged, user)
    head = {key: value for key, value in store.unseal(outcome).items() if key not in ("files", "checksum")}
    head["run_id"] = run["run_id"]
    realised = pq.read_table(staged / schemas.REALISED.name, schema=schemas.arrow(schemas.REALISED))
    measured = judging.measure(
        realised,
        run_id=run["run_id"],
        run_date=date.fromisoformat(run["run_date"]),
        k=head["k"],
        horizons=head["horizons"],
        samples=run["config"]["judge"]["bootstrap_samples"],
        seed=run["seed"],
    )
    shutil.rmtree(staged / schemas.REALISED_METRICS.name)
    publish.write_table(staged, schemas.REALISED_METRICS, measured)
    head |= {"users": len(realised["user_id"].unique()), "events": realised.num_rows}
    store.seal(staged, head)
    store.make_folder(lake.outcomes / run["run_id"])
    store.move_folder(staged, lake.outcomes / run["run_id"] / "1")


def _copies(lake: Lake, parent: Path, user: str, live: list[str]) -> dict[str, str]:
    """Makes the copies below `runs/` or `blocked/`; old run id → new one."""
    renamed: dict[str, str] = {}
    moved: set[object] = set()
    for folder in publish.run_folders(parent):
        day = run_key(folder.name)[0]
        # The order of the runs of a date is that of their numbers: behind a copy, the others get new numbers as well.
        fresh = _copy(lake, folder, user, renamed, live, always=day in moved)
        if fresh:
            renamed[folder.name] = fresh
            moved.add(day)
    return renamed


def _copy(lake: Lake, folder: Path, user: str, renamed: dict[str, str], live: list[str], *, always: bool) -> str | None:
    """Copies one run without the user; none where there is nothing of them in it."""
    run_id = publish.next_run_id(lake, run_key(folder.name)[0])
    staged = publish.stage(lake, run_id)
    changed = publish.copy_without(folder, staged, user)
    manifest = store.read_checked_json(folder / store.MANIFEST)
    head = publish.head_without(manifest, user)
    if not always and not changed and all(head[key] == manifest.get(key) for key in head):
        store.empty_folder(staged)
        staged.rmdir()
        return None
    lost = {name: rows for name, rows in changed.items() if name != "audits"}
    head |= {
        "run_id": run_id,
        "supersedes": folder.name,
        "parent": renamed.get(head["parent"], head["parent"]),
        "rows": {name: rows - lost.get(name, 0) for name, rows in head["rows"].items()},
        "users": head["users"] - lost.get("users", 0),
    }
    past = [row | {"run_id": renamed.get(row["run_id"], row["run_id"])} for row in past_nights(lake, live, folder.name)]
    with views.over(staged, head) as con:
        report.write(staged, con, head, past)
    if (folder / lookup.FILE).is_file():
        lookup.write(staged, head["k"])
    store.seal(staged, head)
    store.move_folder(staged, folder.parent / run_id)
    return run_id


def _sentence(done: Json) -> str:
    pairs = [f"{old} is now {new}" for old, new in {**done["runs"], **done["blocked"]}.items()]
    places = f"; {done['outcomes']} outcomes and {done['history']} records rewritten"
    return f"forgotten: {', '.join(pairs) or 'found in no run'}{places}; their events are dropped from now on"
