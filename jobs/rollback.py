"""`recbatch rollback [RUN]`: readers go back to an earlier run, and back again."""

from __future__ import annotations

from datetime import datetime

import click

from recbatch import publish, store
from recbatch.contracts import Json
from recbatch.errors import DataError, InputMissing
from recbatch.store import Lake, run_key

from . import _lake
from ._options import json_option, lake_option, print_json
from ._say import now


@click.command()
@click.argument("run", required=False)
@lake_option
@json_option
def rollback(run: str | None, lake: Lake, as_json: bool) -> None:
    """Make readers go back to RUN, by default the live run before the latest; name the newer run to go forward again.

    What is newer leaves the catalog and stays on record. Its date counts as not done: the next night of it publishes
    another run.

    \b
    recbatch rollback --lake lake
    recbatch rollback 1998-04-23.1 --lake lake
    """
    lake.require()
    with store.locked(lake):
        try:
            done = go_back(lake, run, now())
        finally:
            store.empty_folder(lake.staging)
    print_json(done) if as_json else click.echo(_sentence(done))


def go_back(lake: Lake, run_id: str | None, at: datetime) -> Json:
    """Makes a run the latest; the caller holds the lock.

    Args:
        lake: its runs are repaired first.
        run_id: a live run or one that was rolled back; none: the live run before the latest.
        at: the time that the note in `retired.json` bears.

    Returns:
        `run_id`, the latest run now, `out`, the runs that left the catalog, and `back`, those that came back: the run
        itself and, below it, what left in the same rollback.

    Raises:
        InputMissing: there is no such run.
        DataError: there is no run before the latest.
        StorageFailed: the run is damaged.
    """
    live = _lake.repair(lake)
    aside = publish.rolled_back(lake)
    if run_id is None:
        if len(live) < 2:
            raise DataError(f"{lake.root}: nothing to go back to, {live[0]} is the only live run; see `recbatch runs`")
        run_id = live[-2]
    if store.checked_run_id(run_id) not in {*live, *aside}:
        raise InputMissing(f"{run_id}: no such run on record; `recbatch runs` lists them")
    store.unseal(lake.run(run_id))
    out = [other for other in live if run_key(other) > run_key(run_id)]
    back = [other for other in aside if run_id in aside and _left_together(other, run_id, aside)]
    note = {"reason": publish.ROLLED_BACK, "at": at.isoformat(), "to": run_id}
    publish.retire(lake, dict.fromkeys(out, note))
    if out or back:
        _lake.commit(lake, [*(other for other in live if other not in out), *back])
        publish.reinstate(lake, back)
    return {"run_id": run_id, "out": out, "back": back}


def _left_together(other: str, run_id: str, aside: dict[str, Json]) -> bool:
    return run_key(other) <= run_key(run_id) and aside[other] == aside[run_id]


def _sentence(done: Json) -> str:
    parts = [f"{', '.join(done[key])} {word}" for key, word in (("out", "taken out"), ("back", "back")) if done[key]]
    if not parts:
        return f"{done['run_id']} is the latest run already, nothing to do"
    return f"readers see {done['run_id']}; {'; '.join(parts)}"
