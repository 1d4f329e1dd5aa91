"""`recbatch benchmark scaling`: how the cost of everybody's lists grows with users, titles and k."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch.config import Index
from recbatch.contracts import Int64s, Json
from recbatch.index import Calibration, ExactIndex, calibrate

from ._options import json_option, print_json
from ._scoring_benchmark import World, vectors
from ._streamed import named, parquet_bytes, stream
from ._tables import print_table

_BATCH = 65_536
_FOR = 1_000_000
"""Users that `auto` chooses for, and that times by titles and k are told for."""
_TARGET = 0.98
_ONCE_FROM = 500_000
"""Titles for which `auto` is not asked a second time: building takes a minute."""
_SCORES = 2_000_000_000
"""Scores computed per measurement of exact search at least: about a second of two cores."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What is measured."""

    users: tuple[int, ...]
    titles: tuple[int, ...]
    k: tuple[int, ...]


FULL = Grid((10_000, 100_000, 1_000_000, 10_000_000), (2_000, 20_000, 100_000, 1_000_000), (10, 50, 100, 500))
QUICK = Grid((10_000, 100_000), (2_000, 20_000), (10, 100))


def by_users(counts: tuple[int, ...], folder: Path, titles: int = 2_000, k: int = 10) -> Iterator[Json]:
    """Exact search with the writing beside it, in batches of users: seconds, bytes, and memory held."""
    world, data = vectors(_BATCH, titles), named(max(counts), titles)
    index = ExactIndex(world.candidates, compiled=True)
    index.search(world.queries[:512], k, world.first(512).seen)
    for count in counts:
        seconds = stream(index, world.queries, world.seen, data, count, k, folder)
        size = parquet_bytes(folder)
        shutil.rmtree(folder)
        yield _row("users", count, titles, k, seconds, "exact, written", bytes=size, resident=_resident())


def by_titles(counts: tuple[int, ...], k: int = 100) -> Iterator[Json]:
    """Exact search, and what `auto` chooses on some users, its cost told by others."""
    for count in counts:
        world = vectors(2 * 1_024, count, seed=8)
        yield _exact("titles", count, k)
        one = _calibrated(world, np.arange(0, 2_048, 2), k)
        other = _calibrated(world, np.arange(1, 2_048, 2), k) if count < _ONCE_FROM else one
        cost = _cost(other, one)
        best = min(trial.seconds_for(_FOR) for trial in other.trials if trial.recall >= _TARGET)
        yield _row(
            "titles", _FOR, count, k, cost, f"auto: {one.engine}", of_best=cost / best, calibration_seconds=one.seconds
        )


def _calibrated(world: World, users: Int64s, k: int) -> Calibration:
    settings = Index(exact_seconds=0, target_recall=_TARGET)
    seen = world.seen.of_queries(users)
    return calibrate(world.candidates, settings, queries=world.queries[users], exclude=seen, k=k, users=_FOR)[0]


def _cost(measured: Calibration, chosen: Calibration) -> float:
    """Seconds of what one calibration chose, as another one measured it; the nearest effort where it has not tried."""
    same = [trial for trial in measured.trials if trial.engine == chosen.engine]
    return min(same, key=lambda trial: abs(trial.effort - chosen.effort)).seconds_for(_FOR)


def by_k(counts: tuple[int, ...], titles: int = 27_000) -> Iterator[Json]:
    """Exact search for longer lists."""
    yield from (_exact("k", titles, k) for k in counts)


def _exact(axis: str, titles: int, k: int) -> Json:
    world = vectors(int(np.clip(_SCORES // titles, 1_024, _BATCH)), titles)
    index = ExactIndex(world.candidates, compiled=True)
    index.search(world.queries[:512], k, world.first(512).seen)
    began = time.monotonic()
    index.search(world.queries, k, world.seen)
    return _row(axis, _FOR, titles, k, (time.monotonic() - began) * _FOR / len(world.queries), "exact")


def _row(axis: str, users: int, titles: int, k: int, seconds: float, engine: str, **more: float) -> Json:
    named = dict.fromkeys(("bytes", "resident", "of_best", "calibration_seconds")) | more
    return {"axis": axis, "users": users, "titles": titles, "k": k, "engine": engine, "seconds": seconds} | named


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def plot(rows: list[Json], target: Path) -> None:
    """Three panels on logarithmic axes: seconds by users, titles and k."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for panel, axis in zip(figure.subplots(1, 3), ("users", "titles", "k"), strict=True):
        mine = [row for row in rows if row["axis"] == axis]
        for name in sorted({row["engine"].partition(":")[0] for row in mine}):
            line = [row for row in mine if row["engine"].partition(":")[0] == name]
            panel.loglog([row[axis] for row in line], [row["seconds"] for row in line], marker="o", label=name)
        first = mine[0]
        fixed = [f"{first[other]:,} {other}" for other in ("users", "titles") if other != axis]
        panel.set(
            xlabel=axis, ylabel="seconds", title=", ".join(fixed + ([f"k = {first['k']}"] if axis != "k" else []))
        )
        panel.title.set_fontsize(9)
        panel.legend(fontsize=8)
    figure.savefig(target, dpi=90)


@click.command("scaling")
@json_option
@click.option("--quick", is_flag=True, help="The two smallest of each: half a minute.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for scaling.parquet and scaling.png.")
@click.option("--dir", "where", type=click.Path(path_type=Path), help="Folder for the files that are written.")
def scaling_command(as_json: bool, quick: bool, out: Path | None, where: Path | None) -> None:
    """Measure how the cost of lists grows: users 10,000 to 10 million, titles 2,000 to a million, k 10 to 500.

    Vectors are those of `benchmark scoring`. By users: exact search among 2,000 titles, k = 10, written as Parquet
    beside it. By titles: a million users, k = 100, extrapolated from some; exact search, and what `--index auto`
    chooses at recall 0.98, its cost told by other users than it was chosen on (below 500,000 titles). By k: 27,000
    titles, exact.

    \b
    recbatch benchmark scaling --out .
    """
    grid = QUICK if quick else FULL
    folder = Path(tempfile.mkdtemp(prefix="recbatch-scaling-", dir=where))
    try:
        rows = [*by_users(grid.users, folder / "lists"), *by_titles(grid.titles), *by_k(grid.k)]
    finally:
        shutil.rmtree(folder)
    table = pa.Table.from_pylist(rows)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, out / "scaling.parquet")
        plot(rows, out / "scaling.png")
    if as_json:
        print_json({"rows": rows})
    else:
        print_table(table)
