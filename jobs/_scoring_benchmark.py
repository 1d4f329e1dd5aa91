"""`recbatch benchmark scoring`: the top k of everybody beside the plain matrix product and other libraries."""

from __future__ import annotations

import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from recbatch import schemas, score
from recbatch.config import Config
from recbatch.contracts import Dataset, Exclusions, Float32s, Int32s, Json, Lists
from recbatch.index import ExactIndex, LeafIndex, plain_products, recalls
from recbatch.publish import TableWriter

from . import _scoring_peers as peers
from ._lookup_benchmark import world
from ._options import json_option, print_json
from ._run import machine
from ._streamed import listed, named, parquet_bytes, stream
from ._tables import print_table

_K = 100
_DIM = 64
_TARGET = 0.98
_EFFORTS = (1, 2, 4, 8, 16, 32, 64)
_OUR_EFFORTS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64)


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is measured: users per engine are as many as give a few seconds."""

    titles: int
    users: int
    peer_users: int
    slow_users: int
    ann_titles: int
    ann_users: int
    ann_peer_users: int
    stage_users: int
    repeats: int


FULL = Shape(27_000, 140_000, 10_000, 2_000, 1_000_000, 8_192, 2_000, 1_000_000, 3)
QUICK = Shape(27_000, 20_000, 2_000, 500, 50_000, 4_096, 1_000, 50_000, 3)
_SLOW = ("tfrs_brute_force", "usearch_exact")


@dataclass(frozen=True, slots=True)
class World:
    """Generated vectors of users and titles, and what each user has seen."""

    queries: Float32s
    candidates: Float32s
    seen: Exclusions

    def first(self, users: int) -> World:
        """The first users."""
        offsets = self.seen.offsets[: users + 1]
        return replace(self, queries=self.queries[:users], seen=Exclusions(offsets, self.seen.items[: offsets[-1]]))


def vectors(users: int, titles: int, *, seed: int = 7) -> World:
    """Vectors shaped like learned ones: 200 clusters in 24 dimensions, turned into 64, and a little noise on all.

    Users have seen 20 to 2,000 titles (lognormal, median 68, as in MovieLens), popular ones more often.
    """
    random_ = np.random.default_rng(seed)
    turn = (random_.normal(size=(24, _DIM)) / np.sqrt(24)).astype(np.float32)
    centres = random_.normal(size=(200, 24)).astype(np.float32)

    def draw(count: int) -> Float32s:
        inner = centres[random_.integers(200, size=count)] + random_.normal(scale=0.6, size=(count, 24))
        noise = random_.normal(scale=0.05, size=(count, _DIM))
        return np.ascontiguousarray(inner.astype(np.float32) @ turn + noise, dtype=np.float32)

    counts = np.clip(random_.lognormal(np.log(68), 1.0, users), 20, min(2_000, titles // 4)).astype(np.int64)
    items = np.minimum(random_.exponential(titles / 8, counts.sum()), titles - 1).astype(np.int64)
    keys = np.unique(np.repeat(np.arange(users), counts) * titles + items)
    offsets = np.searchsorted(keys, np.arange(users + 1) * titles)
    return World(draw(users), draw(titles), Exclusions(offsets, (keys % titles).astype(np.int32)))


def _rates(calls: dict[str, tuple[int, Callable[[], object]]], repeats: int) -> dict[str, float]:
    """Users per second of each call, medians; they take turns, so that a slow minute meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for name, (_, call) in calls.items():
        if name != "exact":  # long enough to have compiled on the way
            continue
        call()
    for _ in range(repeats):
        for name, (_, call) in calls.items():
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
    return {name: calls[name][0] / statistics.median(took) for name, took in seconds.items()}


def measure_exact(shape: Shape, lost: dict[str, str]) -> Json:
    """The exact engine, the product alone by BLAS on the same threads, and exact peers."""
    all_ = vectors(shape.users, shape.titles)
    index = ExactIndex(all_.candidates, compiled=True)
    threads = int(machine()["cores"])
    calls: dict[str, tuple[int, Callable[[], object]]] = {
        "exact": (shape.users, lambda: index.search(all_.queries, _K, all_.seen)),
        "sgemm": (shape.users, lambda: plain_products(index, all_.queries)),
    }
    for name in (name for name in peers.EXACT if name not in lost):
        part = all_.first(shape.slow_users if name in _SLOW else shape.peer_users)
        search = peers.exact(name, part.candidates, threads)
        search(part.queries[:64], part.first(64).seen, _K)
        calls[name] = (len(part.queries), lambda s=search, w=part: s(w.queries, w.seen, _K))  # type: ignore[misc]
    rates = _rates(calls, shape.repeats)
    ratios = {f"exact_vs_{name}": rates["exact"] / rates[name] for name in peers.EXACT if name in rates}
    return (
        {
            "exact_users": shape.users,
            "exact_titles": shape.titles,
            "exact_share_of_sgemm": rates["exact"] / rates["sgemm"],
        }
        | ratios
        | {f"{name}_users_per_second": rate for name, rate in rates.items()}
    )


def measure_approximate(shape: Shape, lost: dict[str, str], folder: Path) -> Json:
    """The least effort that reaches the recall wanted, ours and the peers', seen titles out."""
    all_ = vectors(shape.ann_users, shape.ann_titles, seed=8)
    oracle = ExactIndex(all_.candidates, compiled=True)
    oracle.search(all_.queries[:256], _K, all_.first(256).seen)  # compiles, as a large night has
    truth, exact_rate = _timed(lambda: oracle.search(all_.queries, _K, all_.seen)[0], shape.repeats)
    began = time.perf_counter()
    engine = LeafIndex.build(all_.candidates)
    build_seconds = time.perf_counter() - began
    recall = rate = 0.0
    engine.search(all_.queries[:1024], _K, all_.first(1024).seen)
    for effort in _OUR_EFFORTS:
        engine = replace(engine, effort=effort)
        found, rate = _timed(lambda e=engine: e.search(all_.queries, _K, all_.seen)[0], shape.repeats)  # type: ignore[misc]
        recall = float(recalls(found, truth, shape.ann_titles).mean())
        if recall >= _TARGET:
            break
    figures: Json = {
        "ann_users": shape.ann_users,
        "ann_titles": shape.ann_titles,
        "ann_recall_at_100_1m": recall,
        "ann_users_per_second": rate,
        "ann_build_seconds": build_seconds,
        "ann_exact_users_per_second": exact_rate,
        "ann_exact_is": f"extrapolated from {shape.ann_users} users",
        "ann_vs_exact_1m": rate / exact_rate,
    }
    best = 0.0
    for name in (name for name in peers.APPROXIMATE if name not in lost):
        reached, peer_rate = _peer(name, all_.first(shape.ann_peer_users), truth[: shape.ann_peer_users], shape.repeats)
        figures |= {f"{name}_recall": reached, f"{name}_users_per_second": peer_rate}
        best = max(best, peer_rate if reached >= _TARGET else 0.0)
    figures |= _to_parquet(engine, all_, shape, folder)
    return figures | ({"ann_vs_best_peer_1m": rate / best} if best else {})


def _to_parquet(engine: LeafIndex, world_: World, shape: Shape, folder: Path) -> Json:
    """A million users, or so, to the files that readers get: seconds, and how much of them the writing adds."""
    data = named(shape.stage_users, shape.ann_titles)
    some = 8 * len(world_.queries)
    searching = stream(engine, world_.queries, world_.seen, data, some, _K, None) * shape.stage_users / some
    seconds = stream(engine, world_.queries, world_.seen, data, shape.stage_users, _K, folder / "stage")
    return {
        "stage_users": shape.stage_users,
        "stage_seconds_1m": seconds,
        "stage_writing_share_of_wall_1m": seconds / searching - 1,
        "stage_bytes_per_row_1m": parquet_bytes(folder / "stage") / (shape.stage_users * _K),
    }


def _peer(name: str, world_: World, truth: Int32s, repeats: int) -> tuple[float, float]:
    at = peers.approximate(name, world_.candidates, int(machine()["cores"]))
    recall = rate = 0.0
    for effort in _EFFORTS:
        fetch = at(effort)
        search = partial(peers.overfetched, fetch, world_.queries, world_.seen, _K, len(world_.candidates))
        found, rate = _timed(search, repeats)
        recall = float(recalls(found, truth, len(world_.candidates)).mean())
        if recall >= _TARGET:
            break
    return recall, rate


def _timed(search: Callable[[], Any], repeats: int) -> tuple[Int32s, float]:
    """What is found, and users per second, the median."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        found = search()
        seconds.append(time.perf_counter() - began)
    return np.asarray(found, dtype=np.int32), len(found) / statistics.median(seconds)


def measure_writing(shape: Shape, folder: Path) -> Json:
    """The published files of searched lists: alone, and with a writer thread beside the search."""
    users = min(shape.users, 60_000)
    all_, data = vectors(users, shape.titles), world(users, 7)
    index = ExactIndex(all_.candidates, compiled=True)
    rows: list[Lists] = []

    def search(start: int) -> Lists:
        some = slice(start, start + 4096)
        offsets = all_.seen.offsets[some.start : some.stop + 1]
        seen = Exclusions(offsets - offsets[0], all_.seen.items[offsets[0] : offsets[-1]])
        found, scores = index.search(all_.queries[some], _K, seen)
        return listed(np.arange(start, start + len(found), dtype=np.int32), found, scores, seen)

    rows = [search(start) for start in range(0, users, 4096)]
    began = time.perf_counter()
    _write(folder / "alone", rows, data)
    writing = time.perf_counter() - began
    batch = all_.first(4_096)
    searching = stream(index, batch.queries, batch.seen, data, users, _K, None)
    together = stream(index, batch.queries, batch.seen, data, users, _K, folder / "both")
    return {
        "writing_share_of_wall": together / searching - 1,
        "bytes_per_row": parquet_bytes(folder / "alone") / (users * _K),
        "rows_per_second_per_writer": users * _K / writing,
    }


def _write(folder: Path, rows: list[Lists], data: Dataset) -> None:
    with TableWriter(folder, schemas.RECOMMENDATIONS) as writer:
        for part in rows:
            writer.write(score.to_table(part, data))


@click.command("scoring")
@json_option
@click.option("--quick", is_flag=True, help="Smaller shapes: about a minute.")
@click.option("--dir", "where", type=click.Path(path_type=Path), help="Folder for the files that are written.")
def scoring_command(as_json: bool, quick: bool, where: Path | None) -> None:
    """Measure the search for everybody's top 100, exact and approximate, and the writing, beside peers.

    Vectors are generated: 200 clusters in 24 dimensions inside 64, with noise. Seen titles are out; peers fetch more
    per bucket of history length (`faiss_flat` alone does not). Peers need pip install 'recbatch[bench]'.

    \b
    recbatch benchmark scoring --quick
    recbatch benchmark scoring --json
    """
    shape = QUICK if quick else FULL
    lost = peers.missing((*peers.EXACT, *peers.APPROXIMATE))
    for line in lost.values():
        click.echo(line, err=True)
    folder = Path(tempfile.mkdtemp(prefix="recbatch-scoring-", dir=where))
    try:
        facts = measure_exact(shape, lost) | measure_writing(shape, folder) | measure_approximate(shape, lost, folder)
    finally:
        shutil.rmtree(folder)
    facts["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if as_json:
        print_json(facts | {"k": Config().score.k, "machine": machine()})
        return
    print_table(pa.table({"figure": list(facts), "value": [_text(value) for value in facts.values()]}))


def _text(value: object) -> str:
    return value if isinstance(value, str) else f"{value:,.3f}".rstrip("0").rstrip(".")
