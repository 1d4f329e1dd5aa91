"""`recbatch verify`: every published file against its checksum."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from recbatch import index, kernels, publish, store, views, withdrawn
from recbatch.errors import RecbatchError
from recbatch.store import Lake

from ._options import json_option, lake_option, print_json

_DAMAGED = 74


@click.command()
@lake_option
@json_option
def verify(lake: Lake, as_json: bool) -> None:
    """Check every file of every run, model and outcome against its sha256, and the catalog; exit 74 if one differs.

    \b
    recbatch verify --lake lake
    """
    lake.require()
    folders, faults = damage(lake)
    if as_json:
        print_json({"sound": not faults, "folders": len(folders), "faults": faults})
    else:
        for fault in faults:
            click.echo(fault)
        click.echo(
            f"{'damaged' if faults else 'sound'}: {len(folders)} runs, models and outcomes, {len(faults)} faults"
        )
    sys.exit(_DAMAGED if faults else 0)


def damage(lake: Lake) -> tuple[list[Path], list[str]]:
    """The sealed folders of a lake, and what is wrong with them, with the catalog and with `latest.json`."""
    faults = _catalog_faults(lake) + index.decisions.damage(lake) + kernels.damage(store.matching(lake.kernels, "*.o"))
    parents = (lake.runs, lake.blocked, lake.history, lake.cache)
    folders = [path for parent in parents for path in store.matching(parent) if path.is_dir()]
    folders += store.matching(lake.models, "m-*")
    folders += [path for run in store.matching(lake.outcomes) for path in store.matching(run) if path.is_dir()]
    for folder in folders:
        faults += store.faults(folder)
    return folders, faults


def _catalog_faults(lake: Lake) -> list[str]:
    """What is wrong with the two ways in."""
    found = []
    try:
        live = views.live_runs(lake)
        found += [
            f"{lake.run(run_id)}: stands in the catalog but is gone" for run_id in live if not lake.run(run_id).is_dir()
        ]
        with views.connect(lake) as con:
            views.query(con, "select count(*) from recommendations")
        store.read_checked_json(lake.latest)
        if publish.catalog_differs(lake):
            found.append(f"{lake.catalog}: sha256 differs from latest.json; the next `recbatch nightly` writes it anew")
        publish.retired(lake)
        if (lake.models / "rejected.json").exists():
            store.read_checked_json(lake.models / "rejected.json")
        publish.forgotten(lake)
        withdrawn.read(lake)
    except RecbatchError as error:
        found.append(str(error))
    return found
