"""`recbatch backfill FROM TO`: a night for every date in between that is not done, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import click

from recbatch import store
from recbatch.config import Config
from recbatch.contracts import Json
from recbatch.errors import DataError
from recbatch.store import Lake, run_key

from . import _lake
from ._ahead import Ahead
from ._input import Input
from ._night import night
from ._options import RunDate, config_options, json_option, lake_option, print_json
from ._say import Say


@click.command()
@click.argument("first", metavar="FROM", type=RunDate())
@click.argument("last", metavar="TO", type=RunDate())
@lake_option
@config_options
@json_option
@click.option("--source", envvar="RECBATCH_SOURCE", help="As in `recbatch nightly`.")
@click.option("--data-dir", envvar="RECBATCH_DATA_DIR", help="As in `recbatch nightly`.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Trainings that run side by side.")
def backfill(
    first: date,
    last: date,
    lake: Lake,
    settings: Callable[[dict[str, Any]], Config],
    as_json: bool,
    source: str | None,
    data_dir: str | None,
    jobs: int,
) -> None:
    """Run the night of every date from FROM to TO that has no live run, oldest first; a second call resumes.

    The input is read once, if a quarter of the memory budget holds it. A night is judged against the one before and
    audited against all before it, so nights follow each other; --jobs trains for several dates side by side, ahead of
    their nights and with the same outcome, where training goes on from no earlier model: on every date that trains with
    train.warm_start=false, else after train.max_warm_starts in a row. The memory budget must hold all of them.

    A night that is blocked is told and left out; the command then exits 65 when the others are done.

    \b
    recbatch backfill 2024-03-01 2024-03-07 --source sample --lake lake
    recbatch backfill 2024-03-01 2024-05-31 --jobs 2 --set train.warm_start=false --source files:data
    """
    config = settings({"source.uri": source, "source.data_dir": data_dir})
    with store.locked(lake):
        try:
            lines = []
            for line in nights(lake, config, first, last, jobs):
                lines.append(line)
                if not as_json:
                    click.echo(line["text"])
        finally:
            store.empty_folder(lake.staging)
    if as_json:
        print_json(lines)
    blocked = [line["run_date"] for line in lines if line["outcome"] == "blocked"]
    if blocked:
        raise DataError(f"{len(blocked)} of {len(lines)} dates not done: {', '.join(blocked)}; see the lines above")


def nights(lake: Lake, config: Config, first: date, last: date, jobs: int = 1) -> Iterator[Json]:
    """Runs the nights one by one; the caller holds the lock.

    Dates ascend whichever end is named first, so that each night's parent is there before it, and no night meets a
    model that has seen its future: models trained past a run date do not exist for it.

    Args:
        lake: where they are published.
        config: settings of all of them.
        first: one end of the dates.
        last: the other.
        jobs: trainings that run side by side.

    Yields:
        Per date `run_date`, `outcome` (`published`, `done` for a date that had a live run, or `blocked`), `run_id`
        (none if blocked) and `text`, one line.

    Raises:
        RecbatchError: other than a blocked night; dates before it are done, another call goes on from there.
    """
    first, last = min(first, last), max(first, last)
    source = Input(config, last)
    live = {run_key(run_id)[0]: run_id for run_id in _lake.repair(lake)}
    days = [first + timedelta(days=at) for at in range((last - first).days + 1)]
    missing = [day for day in days if day not in live]
    with Ahead(lake, config, missing, jobs, lambda day: source.dataset(lake, day)) as ahead:
        for day in days:
            if day in live:
                yield _line(day, "done", live[day], f"{live[day]} already published, nothing to do")
                continue
            ahead.look(day)
            try:
                with Say() as say:
                    done = night(lake, config, day, say, source=source, ahead=ahead.take)
            except DataError as error:
                yield _line(day, "blocked", None, f"{day} not done: {error}")
            else:
                yield _line(day, "published", done.manifest["run_id"], done.text)


def _line(day: date, outcome: str, run_id: str | None, text: str) -> Json:
    return {"run_date": day.isoformat(), "outcome": outcome, "run_id": run_id, "text": text}
