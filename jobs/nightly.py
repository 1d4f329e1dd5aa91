"""`recbatch nightly`: one night under the lake's lock, told to whoever watches; what it does is in `_night`.

Until it holds the lock it imports little: a start that is refused costs a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from recbatch import store
from recbatch.errors import LockHeld
from recbatch.store import Lake

from ._options import RunDate, config_options, json_option, lake_option, print_json
from ._say import Say, now
from ._watch import somebody_listens, watch_options, watched

if TYPE_CHECKING:
    from recbatch.config import Config


@click.command()
@lake_option
@config_options
@json_option
@click.option(
    "--source", envvar="RECBATCH_SOURCE", help="movielens/100k, files:DIR, recbole:DIR, duckdb:FILE, sample[:users=…]."
)
@click.option("--data-dir", envvar="RECBATCH_DATA_DIR", help="Prepared tensorflow-datasets directory.")
@click.option("--run-date", type=RunDate(), help="Use events before this date, UTC. Default: today.")
@click.option("--train", type=click.Choice(["auto", "always", "never"]), help="When to train. Default: auto.")
@click.option("--train-budget", help="Time that training may take, e.g. 20m.")
@click.option("--k", type=int, help="Rows per user. Default: 100.")
@click.option(
    "--index",
    type=click.Choice(["auto", "exact", "leaves", "brute", "ah", "tree"]),
    help="Search engine. Default: auto.",
)
@click.option("--seed", type=int, help="Seed of every random choice. Default: 42.")
@click.option("--memory-budget", help="Peak memory, e.g. 4GiB.")
@click.option("--keep-seen", is_flag=True, default=None, help="Recommend titles of the user's history too.")
@click.option("--force", is_flag=True, help="Publish another run of a date that is done.")
@click.option("--allow-degraded", metavar="REASON", help="Publish in spite of a failed audit or gate; recorded.")
@click.option(
    "--dry-run", is_flag=True, help="Read the input, print memory, disk and minutes predicted, write nothing."
)
@watch_options
def nightly(
    lake: Lake,
    settings: Callable[[dict[str, Any]], Config],
    as_json: bool,
    source: str | None,
    data_dir: str | None,
    run_date: date | None,
    train: str | None,
    train_budget: str | None,
    k: int | None,
    index: str | None,
    seed: int | None,
    memory_budget: str | None,
    keep_seen: bool | None,
    force: bool,
    allow_degraded: str | None,
    dry_run: bool,
    watchers: dict[str, Any],
    lineage_parent: str | None,
) -> None:
    """Run one night: train or reload, score everybody, audit, publish.

    \b
    recbatch nightly --source movielens/100k --run-date 1998-04-23 --lake lake
    recbatch nightly --config recbatch.toml --train never
    """
    wanted = watchers | {
        "source.uri": source,
        "source.data_dir": data_dir,
        "train.mode": train,
        "train.budget": train_budget,
        "score.k": k,
        "index.engine": index,
        "seed": seed,
        "score.memory_budget": memory_budget,
        "score.keep_seen": keep_seen,
    }
    day = run_date or now().date()
    if dry_run:
        from ._forecast import forecast

        with Say() as say:
            would = forecast(lake, settings(wanted), day, say)
        print_json(would.facts) if as_json else click.echo(would.text)
        return
    with Say() as say, watched(lake, say, day, watchers, lineage_parent) as watch, ExitStack() as held:
        if not lake.root.is_dir():
            settings(wanted)  # where they are unsound, no lake is made
        try:
            held.enter_context(store.locked(lake))
        except LockHeld:
            if somebody_listens():
                watch.begin(settings(wanted))
            raise
        config = watch.begin(settings(wanted))
        from ._night import night

        try:
            watch.done = night(lake, config, day, say, force=force, allow_degraded=allow_degraded)
        finally:
            store.empty_folder(lake.staging)
    print_json(watch.done.summary) if as_json else click.echo(watch.done.text)
