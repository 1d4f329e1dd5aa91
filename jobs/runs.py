"""`recbatch runs`: what was published, and what was stopped."""

from __future__ import annotations

import click

from recbatch import publish, store, views
from recbatch.contracts import Json
from recbatch.errors import RecbatchError
from recbatch.store import Lake

from ._options import json_option, lake_option, print_json


@click.command()
@lake_option
@json_option
def runs(lake: Lake, as_json: bool) -> None:
    """List published runs, newest first, then those that were rolled back, and the newest blocked ones.

    Each line names the settings that changed since the run's parent.

    \b
    recbatch runs --lake lake
    """
    lines = [
        _facts(lake.run(run_id).name, store.read_checked_json(lake.run(run_id) / store.MANIFEST))
        for run_id in reversed(views.live_runs(lake))
    ]
    lines += [_rolled_back(run_id, note, lake) for run_id, note in reversed(publish.rolled_back(lake).items())]
    lines += [_blocked(folder.name, lake) for folder in reversed(store.matching(lake.blocked))]
    if as_json:
        print_json(lines)
        return
    if not lines:
        click.echo(f"{lake.root}: no runs yet; start one with `recbatch nightly --lake {lake.root}`")
    for line in lines:
        changed = ", ".join(f"{key} {was!r} → {now!r}" for key, (was, now) in line.get("config_diff", {}).items())
        why = "".join(f"  {words}" for words in (line["why"], changed) if words)
        click.echo(
            f"{line['run_id']:<14} {line['status']:<11} {line['finished_at'] or '':<26} {line['users']:>9} users{why}"
        )


def _facts(run_id: str, manifest: Json) -> Json:
    why = manifest.get("degraded_reason") or "; ".join(manifest.get("blocked_because") or [])
    facts = {
        key: manifest.get(key) for key in ("run_date", "status", "finished_at", "users", "model_id", "engine", "k")
    }
    changed = {key: [pair["was"], pair["now"]] for key, pair in manifest.get("config_diff", {}).items()}
    return {"run_id": run_id, **facts, "why": why, "config_diff": changed}


def _rolled_back(run_id: str, note: Json, lake: Lake) -> Json:
    facts = _facts(run_id, store.read_checked_json(lake.run(run_id) / store.MANIFEST))
    return facts | {"status": note["reason"], "why": f"at {note['at']}, to {note['to']}"}


def _blocked(run_id: str, lake: Lake) -> Json:
    try:
        return _facts(run_id, store.read_checked_json(lake.blocked / run_id / store.MANIFEST))
    except RecbatchError as error:
        return {"run_id": run_id, "status": "blocked", "finished_at": None, "users": 0, "why": str(error)}
