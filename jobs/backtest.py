"""`recbatch backtest`: the last nights once more, each judged by what came after it (protocol N)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np

from recbatch import store
from recbatch.config import Config
from recbatch.contracts import Dataset, Lists, Progress, no_progress
from recbatch.errors import DataError
from recbatch.metrics import Float64s
from recbatch.store import Lake

from . import _figures
from ._options import RunDate, config_options, json_option
from ._peers import available
from ._quality import Comparison, Counted, Measured, figures, read_all
from ._replay import CHOOSING_NIGHTS, PEERS, Replay, replay
from ._say import Say

MOST_NIGHTS = 10_000
"""27 years."""
_FIGURES = (("ndcg", 10), ("recall", 20))


def compare(
    data: Dataset,
    config: Config,
    *,
    nights: int,
    horizon_days: int = 1,
    retrain_every: int = 7,
    peers: Sequence[str] = PEERS,
    seeds: int = 1,
    jobs: int = 1,
    keep: Lake | None = None,
    progress: Progress = no_progress,
) -> Comparison:
    """Replays the last nights with one or more seeds and pools users and nights, warm and cold users apart.

    Arguments are those of `replay`; `seeds` counts up from the config's.

    Raises:
        DataError: see `replay`, or nobody did anything new on any of the nights.
    """
    replays = []
    for number in range(seeds):
        seeded = config.model_copy(update={"seed": config.seed + number})
        replays.append(
            replay(
                data,
                seeded,
                nights=nights,
                horizon_days=horizon_days,
                retrain_every=retrain_every,
                peers=peers,
                jobs=jobs,
                keep=keep,
                progress=progress,
            )
        )
    if not replays[0].nights:
        raise DataError(f"nobody did anything new on {nights} nights before {data.run_date}: ask for more --nights")
    return Comparison("N", tuple(_pooled(one) for one in replays), _counted(replays[0], data, config), _NOTES)


_NOTES = (
    "hindsight: titles by how often the judged events themselves are of them, about the most that popularity can tell",
    "events on and after a night's date judge that night; values are over user-nights, cold: no event before the night",
    f"peers' settings: the best ndcg@10 on the {CHOOSING_NIGHTS} nights before the first one",
)


def _pooled(done: Replay) -> dict[str, Measured]:
    names = list(done.seconds)
    lists = {name: [night.lists[name] for night in done.nights] for name in names}
    return {
        name: Measured(_values(done, lists[name]), done.seconds[name], done.settings.get(name, {})) for name in names
    }


def _values(done: Replay, lists: Sequence[Lists]) -> dict[str, Float64s]:
    """Figures over user-nights: of warm users, of cold ones, and of all."""
    warm = np.concatenate([night.pairs.warm for night in done.nights])
    nightly = [figures(mine, night.pairs, _FIGURES) for mine, night in zip(lists, done.nights, strict=True)]
    pooled = {figure: np.concatenate([one[figure] for one in nightly]) for figure in nightly[0]}
    masks = {"warm": warm, "cold": ~warm, "all": np.ones_like(warm)}
    return {f"{who}_{figure}": values[mask] for who, mask in masks.items() for figure, values in pooled.items()}


def _counted(done: Replay, data: Dataset, config: Config) -> Counted:
    warm = np.concatenate([night.pairs.warm for night in done.nights])
    best = _values(done, [night.hindsight for night in done.nights])
    return {
        "users": data.num_users,
        "items": data.num_items,
        "objective": config.train.objective,
        "first_night": done.nights[0].day.isoformat(),
        "last_night": done.nights[-1].day.isoformat(),
        "nights_judged": len(done.nights),
        "trainings": done.trainings,
        "warm_user_nights": int(warm.sum()),
        "cold_user_nights": int((~warm).sum()),
    } | {f"hindsight_{figure}": float(values.mean()) for figure, values in best.items() if len(values)}


@click.command()
@config_options
@json_option
@click.option("--source", envvar="RECBATCH_SOURCE", help="movielens/100k, files:DIR, recbole:DIR, sample[:users=…].")
@click.option("--data-dir", envvar="RECBATCH_DATA_DIR", help="Prepared tensorflow-datasets directory.")
@click.option("--nights", type=click.IntRange(1, MOST_NIGHTS), default=14, show_default=True, help="How many nights.")
@click.option("--until", type=RunDate(), help="Use events before this date. Default: the day after the last event.")
@click.option("--horizon-days", type=click.IntRange(1), default=1, show_default=True, help="Days that judge a night.")
@click.option("--retrain-every", type=click.IntRange(1), default=7, show_default=True, help="Nights per training.")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Chains of nights that run side by side."
)
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Folder for trained models; the same command goes on from there."
)
@_figures.peers_option(PEERS)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for quality.parquet and quality.png.")
def backtest(
    settings: Callable[[dict[str, Any]], Config],
    as_json: bool,
    source: str | None,
    data_dir: str | None,
    nights: int,
    until: date | None,
    horizon_days: int,
    retrain_every: int,
    jobs: int,
    keep: Path | None,
    peers: list[str],
    out: Path | None,
) -> None:
    """Run the last nights again and judge each by what came after it, beside what is popular.

    Night D sees events before D only; the whole published ladder is judged on D's events, users without a history too.

    Each training starts from the weights of the one before, so its nights follow it; a chain ends where training begins
    anew, after train.max_warm_starts, or every time with train.warm_start=false. --jobs runs chains side by side, each
    in a process of its own, as far as score.memory_budget allows. With --keep the same command, after a kill or with
    other peers, trains nothing again that it has trained.

    \b
    recbatch backtest --nights 14 --source files:data
    recbatch backtest --nights 28 --jobs 2 --keep backtest --set train.warm_start=false --source files:data
    recbatch backtest --nights 60 --source movielens/100k --peers recent,popularity,ease --json
    """
    config = settings({"source.uri": source, "source.data_dir": data_dir})
    peers, notes = available(peers)
    with Say() as say:
        say.stage("read")
        data = read_all(config, until, say.progress)
        say.stage("replay")
        with _shelf(keep, config) as shelf:
            found = compare(
                data,
                config,
                nights=nights,
                horizon_days=horizon_days,
                retrain_every=retrain_every,
                peers=peers,
                jobs=jobs,
                keep=shelf,
                progress=say.progress,
            )
    _figures.tell(replace(found, notes=(*found.notes, *notes)), config, as_json=as_json, out=out)


@contextlib.contextmanager
def _shelf(folder: Path | None, config: Config) -> Iterator[Lake | None]:
    """A folder of models, locked; it is laid out as a lake without runs.

    Its name says the settings that training depends on besides those that a model's id names.
    """
    if folder is None:
        yield None
        return
    lake = Lake(folder / config.digest("judge", "popular", "score")[:12])
    with store.locked(lake):
        try:
            yield lake
        finally:
            store.empty_folder(lake.staging)
