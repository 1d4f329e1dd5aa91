"""`recbatch status`: is what readers see fresh and healthy?"""

from __future__ import annotations

import sys
from datetime import date

import click

from recbatch import store, views
from recbatch.contracts import Json
from recbatch.store import Lake

from ._lake import manifest_of
from ._options import json_option, lake_option, print_json
from ._say import now


@click.command()
@lake_option
@json_option
@click.option("--max-age-days", type=int, help="Unhealthy when the run date is older than this.")
def status(lake: Lake, as_json: bool, max_age_days: int | None) -> None:
    """Say whether what readers see is whole and fresh: exit 0 if so, 1 if not.

    \b
    recbatch status --lake lake --max-age-days 2
    """
    facts = _facts(lake, max_age_days)
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{'healthy' if facts['healthy'] else 'unhealthy'}: {facts['why']}")
    sys.exit(0 if facts["healthy"] else 1)


def _facts(lake: Lake, max_age_days: int | None) -> Json:
    lake.require()
    run_id = views.live_runs(lake)[-1]
    manifest = manifest_of(lake, run_id)
    latest = store.read_checked_json(lake.latest)
    age = (now().date() - date.fromisoformat(manifest["run_date"])).days
    missing = [name for name in manifest["files"] if not (lake.run(run_id) / name).is_file()]
    troubles = [f"{missing[0]} is missing; run `recbatch verify`"] if missing else []
    if latest["run_id"] != run_id:
        troubles.append(f"latest.json still names {latest['run_id']}; the next `recbatch nightly` repairs it")
    if max_age_days is not None and age > max_age_days:
        troubles.append(f"its run date is {age} days old, more than {max_age_days}")
    what = f"run {run_id} ({manifest['status']}), {manifest['users']:,} users, finished {manifest['finished_at']}"
    return {
        "healthy": not troubles,
        "why": "; ".join([what, *troubles]),
        "run_id": run_id,
        "run_date": manifest["run_date"],
        "finished_at": manifest["finished_at"],
        "age_days": age,
        "status": manifest["status"],
    }
