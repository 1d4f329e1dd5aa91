"""`recbatch status`: is what readers see fresh and healthy?"""

from __future__ import annotations

import sys
from datetime import date, datetime

import click

from recbatch import publish, store, views
from recbatch.contracts import Json
from recbatch.errors import RecbatchError
from recbatch.store import Lake

from ._lake import manifest_of
from ._options import json_option, lake_option, print_json
from ._say import now


@click.command()
@lake_option
@json_option
@click.option(
    "--max-age-days",
    type=click.IntRange(min=0),
    envvar="RECBATCH_MAX_AGE_DAYS",
    help="Unhealthy when the run date is older than this. Default: any age will do.",
)
def status(lake: Lake, as_json: bool, max_age_days: int | None) -> None:
    """Say whether what readers see is whole and fresh: exit 0 if so, 1 if not, 66 where nothing is published.

    For probes: it takes about a second, looks at the catalog, latest.json, the live run and its audits, and reads no
    table; `recbatch verify` reads every byte.

    \b
    recbatch status --lake lake --max-age-days 2
    """
    lake.require()
    facts = health(lake, max_age_days)
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{'healthy' if facts['healthy'] else 'unhealthy'}: {facts['why']}")
    sys.exit(0 if facts["healthy"] else 1)


def health(lake: Lake, max_age_days: int | None = None) -> Json:
    """What a probe wants to know of a lake with a catalog; damage is an answer here, not an error.

    Returns:
        `healthy`, `why` (one line), `troubles` (each with its cure), and of the live run `run_id`, `run_date`,
        `finished_at`, `age_days` (of the run date), `age_seconds` (since it was made), `status`, `users`,
        `failed_audits` (names of checks of either severity that did not hold) and `blocked_since` (runs of later dates
        that were stopped); none where they cannot be read.
    """
    facts: Json = dict.fromkeys(_KEYS)
    troubles: list[str] = []
    try:
        facts |= _live(lake)
        troubles += _troubles(lake, facts["run_id"])
    except RecbatchError as error:
        troubles.append(str(error))
    age = facts["age_days"]
    if max_age_days is not None and age is not None and age > max_age_days:
        troubles.append(f"its run date is {age} days old, more than {max_age_days}; run `recbatch nightly`")
    notes = []
    if facts["run_id"]:
        notes.append(
            f"run {facts['run_id']} ({facts['status']}), {facts['users']:,} users, finished {facts['finished_at']}"
        )
    if facts["blocked_since"]:
        notes.append(f"later nights blocked: {', '.join(facts['blocked_since'])}")
    return {"healthy": not troubles, "why": "; ".join([*notes, *troubles]), "troubles": troubles, **facts}


_KEYS = (
    "run_id",
    "run_date",
    "finished_at",
    "age_days",
    "age_seconds",
    "status",
    "users",
    "failed_audits",
    "blocked_since",
)


def _live(lake: Lake) -> Json:
    run_id = views.live_runs(lake)[-1]
    manifest = manifest_of(lake, run_id)
    day, at = store.run_key(run_id)[0], now()
    return {
        "run_id": run_id,
        "run_date": manifest["run_date"],
        "finished_at": manifest["finished_at"],
        "age_days": (at.date() - date.fromisoformat(manifest["run_date"])).days,
        "age_seconds": int((at - datetime.fromisoformat(manifest["finished_at"])).total_seconds()),
        "status": manifest["status"],
        "users": manifest["users"],
        "failed_audits": [audit["check"] for audit in manifest["audits"] if not audit["passed"]],
        "blocked_since": [path.name for path in publish.run_folders(lake.blocked) if store.run_key(path.name)[0] > day],
    }


def _troubles(lake: Lake, run_id: str) -> list[str]:
    """What is wrong with the two ways in and the files behind them, sizes compared, bytes not read."""
    found = []
    manifest = manifest_of(lake, run_id)
    for name, facts in manifest["files"].items():
        path = lake.run(run_id) / name
        if not path.is_file() or path.stat().st_size != facts["bytes"]:
            found.append(f"{path} is missing or of another size; restore it, `recbatch verify` lists all")
            break
    with views.connect(lake) as con:
        views.query(con, "select 1 from recommendations limit 1")
    latest = store.read_checked_json(lake.latest)
    if latest["run_id"] != run_id:
        found.append(f"latest.json still names {latest['run_id']}; the next `recbatch nightly` repairs it")
    elif latest["manifest_sha256"] != store.sha256_file(lake.run(run_id) / store.MANIFEST):
        found.append("latest.json names another manifest than the run's; the next `recbatch nightly` repairs it")
    return found
