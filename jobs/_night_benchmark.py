"""`recbatch benchmark night`: a whole night of a generated shape through the command, watched from outside."""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from recbatch import split, store, views
from recbatch.config import Config
from recbatch.contracts import Json
from recbatch.errors import DataError
from recbatch.index import ExactIndex, plain_products

from ._generated import write_files
from ._lake import manifest_of
from ._options import json_option, print_json
from ._run import machine
from ._tables import print_table

_RUN_DATE = date(2024, 5, 2)
_TRAINED_ON = 20_000
"""Users whom the model is trained on, the day before: enough for a gate, and quick."""
_STEPS = 60
_PRODUCTS = 9
_PRODUCT_USERS = 8_192
_SAMPLE_SECONDS = 0.05
_COMMAND = (sys.executable, "-m", "recbatch.jobs")


@dataclass(frozen=True, slots=True)
class Watched:
    """A process with its children: how it ended, how long it took, how much all of them worked and held at most."""

    code: int
    output: str
    seconds: float
    peak_bytes: int
    processor_seconds: float


def watch(arguments: list[str]) -> Watched:
    """Runs `recbatch` in a process of its own; memory is what the tree of processes has resident, 20 times a second."""
    began, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen([*_COMMAND, *arguments], stdout=out, stderr=err)  # noqa: S603
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        while process.poll() is None:
            peak = max(peak, sum(map(_resident, _tree(process.pid))))
            time.sleep(_SAMPLE_SECONDS)
        seconds, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        worked = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
        out.seek(0)
        err.seek(0)
        lines = err.read().strip().splitlines() or [""]
        return Watched(process.returncode, out.read() if process.returncode == 0 else lines[-1], seconds, peak, worked)


def _tree(pid: int) -> list[int]:
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        for tasks in Path(f"/proc/{found[-1]}/task").glob("*/children"):
            try:
                waiting += map(int, tasks.read_text().split())
            except OSError:  # it ended meanwhile
                continue
    return found


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def measure(folder: Path, users: int, titles: int, events: float, settings: list[str]) -> Json:
    """Trains on few users, predicts the night of all of them, runs it twice, and multiplies the same matrices.

    The first run compiles the loops that later nights find (`recbatch.kernels`); what is told is the second.

    Raises:
        DataError: the night that trains failed.
    """
    end = split.microseconds(_RUN_DATE - timedelta(days=1))
    write_files(folder / "few", min(users, _TRAINED_ON), titles, events, end)
    count = write_files(folder / "all", users, titles, events, end)
    common = ["nightly", "--lake", str(folder / "lake"), f"--set=train.max_steps={_STEPS}", "--json"]
    before = [*common, "--memory-budget", "64GiB", "--source", f"files:{folder / 'few'}"]
    trained = watch([*before, "--run-date", str(_RUN_DATE - timedelta(days=1))])
    if trained.code:
        raise DataError(f"the night that trains failed: {trained.output}")
    night = [*common, "--train", "never", "--run-date", str(_RUN_DATE), "--source", f"files:{folder / 'all'}"]
    predicted = watch([*night, *settings, "--dry-run"])
    told = json.loads(predicted.output) if predicted.code == 0 else {}
    first = watch([*night, *settings])
    done = watch([*night, *settings, "--force"]) if first.code == 0 else first
    facts: Json = {"users": users, "titles": titles, "events": count, "exit_code": done.code}
    facts |= {"first_seconds": first.seconds, "seconds": done.seconds}
    facts |= {"processor_seconds": done.processor_seconds, "peak_bytes": done.peak_bytes}
    if done.code:
        return facts | {"refused": done.output}
    lake = store.Lake(folder / "lake")
    head = manifest_of(lake, views.live_runs(lake)[-1])
    disk = sum(file.stat().st_size for file in lake.run(head["run_id"]).rglob("*") if file.is_file())
    facts |= {"k": head["k"], "engine": head["engine"], "rows": head["rows"]["recommendations"], "disk_bytes": disk}
    facts |= _product(users, titles, Config().train.embedding_dim + 1, done.seconds)
    facts |= {
        "predicted_memory": told["peak_bytes"] / done.peak_bytes,
        "predicted_disk": told["disk_bytes"] / disk,
        "predicted_time": told["minutes"] * 60 / done.seconds,
    }
    facts["compiling_seconds"] = sum(head["compiling_seconds"].values())
    return facts | {f"{stage}_seconds": took for stage, took in (head["part_seconds"] | head["seconds"]).items()}


def _product(users: int, titles: int, dim: int, seconds: float) -> Json:
    """The matrix product of everybody with every title, by NumPy's BLAS: the median of some, of some of the users."""
    random_ = np.random.default_rng(0)
    some = min(users, _PRODUCT_USERS)
    queries, candidates = (random_.normal(size=(n, dim)).astype(np.float32) for n in (some, titles))
    index = ExactIndex(candidates)
    plain_products(index, queries[:512])
    took = []
    for _ in range(_PRODUCTS):
        began = time.monotonic()
        plain_products(index, queries)
        took.append(time.monotonic() - began)
    product = statistics.median(took) * users / some
    return {"product_seconds": product, "allowed_seconds": 2 * product + 15, "of_allowed": seconds / (2 * product + 15)}


@click.command("night")
@json_option
@click.option("--users", type=click.IntRange(1), default=162_541, show_default=True)
@click.option("--titles", type=click.IntRange(100), default=59_047, show_default=True)
@click.option("--events", type=click.FloatRange(1), default=154.0, show_default=True, help="Per user, about.")
@click.option("--memory-budget", default="8GiB", show_default=True, help="Of the night.")
@click.option("--set", "more", multiple=True, metavar="KEY=VALUE", help="Further settings of the night.")
@click.option("--dir", "where", type=click.Path(path_type=Path), help="Folder for input and lake.")
def night_command(
    as_json: bool, users: int, titles: int, events: float, memory_budget: str, more: tuple[str, ...], where: Path | None
) -> None:
    """Time a night with `--train never` from the start of its process to published tables, watched from outside.

    Interactions are generated (by default as many users, titles and events as MovieLens 25M has). The model is trained
    the day before on 20,000 of the users for a few steps. The night runs twice: the first compiles loops and keeps them
    for those that follow (`first_seconds`). Told of the second are seconds by stage beside the matrix product of all
    users with all titles, the largest memory of the process and its children, and what `--dry-run` had predicted of
    memory, disk and time as a share of what happened.

    \b
    recbatch benchmark night
    recbatch benchmark night --users 20000 --titles 5000 --events 50 --json
    """
    settings = ["--memory-budget", memory_budget, *(f"--set={pair}" for pair in more)]
    folder = Path(tempfile.mkdtemp(prefix="recbatch-night-", dir=where))
    try:
        facts = measure(folder, users, titles, events, settings)
    finally:
        shutil.rmtree(folder)
    if as_json:
        print_json(facts | {"machine": machine()})
        return
    print_table(pa.table({"figure": list(facts), "value": [_text(value) for value in facts.values()]}))


def _text(value: object) -> str:
    return value if isinstance(value, str) else f"{value:,.3f}".rstrip("0").rstrip(".")
