"""`recbatch why-not USER ITEM`: the rule or the rank that kept a title out of a list."""

from __future__ import annotations

from dataclasses import asdict

import click

from recbatch import views
from recbatch.errors import InputMissing
from recbatch.store import Lake

from ._lake import manifest_of
from ._options import json_option, lake_option, print_json
from ._say import Say


@click.command("why-not")
@click.argument("user")
@click.argument("item")
@click.option("--run", "run_id", metavar="RUN", help="Which run. Default: the live one.")
@click.option("--source", help="Where the run's input lies, if it has moved.")
@click.option("--data-dir", help="Prepared tensorflow-datasets directory, if it has moved.")
@lake_option
@json_option
def why_not(
    user: str, item: str, run_id: str | None, source: str | None, data_dir: str | None, lake: Lake, as_json: bool
) -> None:
    """Say what kept a title, named by id or exact title, out of a user's list: a rule, or its rank.

    The run's source and files of rules are read again, because the lake keeps no histories; they must be what the
    night read.

    \b
    recbatch why-not 196 "Star Wars (1977)"
    recbatch why-not 196 50 --run 1998-04-23.1 --json
    """
    from ._serving import config_of
    from ._why import why_not as find_out

    lake.require()
    run_id = run_id or views.live_runs(lake)[-1]
    if not (lake.runs / run_id).is_dir():
        raise InputMissing(f"{lake.root}: no published run {run_id}; `recbatch runs` lists them")
    run = manifest_of(lake, run_id)
    with Say() as say:
        answer = find_out(lake, run, user, item, config_of(run, source, data_dir), say)
    if as_json:
        print_json({"run_id": run_id, "user_id": user, **asdict(answer)})
        return
    click.echo(f"user {user}, {answer.item_id} {answer.title}, run {run_id}: {answer.sentence}")
