"""`recbatch report`: where the report of a run lies."""

from __future__ import annotations

import click

from recbatch import store, views
from recbatch.errors import InputMissing
from recbatch.store import Lake

from ._options import json_option, lake_option, print_json


@click.command()
@click.argument("run", required=False)
@lake_option
@json_option
def report(run: str | None, lake: Lake, as_json: bool) -> None:
    """Print the path of a run's report.html: the live run's, or that of a published or blocked RUN.

    \b
    recbatch report --lake lake
    recbatch report 1998-04-23.1 --lake lake
    """
    if run is None:
        lake.require()
        run = views.live_runs(lake)[-1]
    name = store.checked_run_id(run)
    found = [
        folder / name / "report.html"
        for folder in (lake.runs, lake.blocked)
        if (folder / name / "report.html").is_file()
    ]
    if not found:
        raise InputMissing(f"{lake.root}: no run {name} with a report; `recbatch runs` lists them")
    if as_json:
        print_json({"run_id": name, "report": str(found[0])})
    else:
        click.echo(found[0])
