"""`nightly --dry-run`: what the night would take in memory, disk and minutes, and whether it would train.

Scaled from the parent run where there is one, by users, titles and rows; else from constants of a two-core machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np

from recbatch import dataset, index, publish, sources, train, views, withdrawn
from recbatch.config import Config, memory_bytes, seconds
from recbatch.contracts import Dataset, Json
from recbatch.store import Lake

from . import _lake, _memory
from ._items import leave_out
from ._say import Say, now

_MIB = 2**20
_BYTES_PER_ROW = 5.5
"""Of a list in Parquet, titles apart."""
_BYTES_PER_TITLE = 12.0
"""Of each title in each row group, compressed."""
_LOOKUP_BYTES_PER_ROW = 13.5
_BYTES_PER = {"histories": 9.4, "users": 34.0, "items": 50.0, "similar_items": 6.1, "popular": 29.0}
"""Per row of the other tables that grow."""
_FIXED_BYTES = 180_000
"""Report, manifest, audits, metrics and holdout."""
_MODEL_ARRAYS = 6
"""Matrices of titles by dimensions in a model: three in each of its two sets of weights."""
_EVENTS_PER_SECOND = {"read": 2_500_000, "judge": 6_500_000}
"""Read and cleaned; counted for popularity."""
_ROWS_PER_SECOND = {"score": 5_000_000, "write": 20_000_000, "audit": 2_000_000, "publish": 20_000_000}
"""Ranked rows: selected and filled; told of in `users`; checked, while `lookup.arrow` is written; sealed."""
_USERS_PER_SECOND = 250_000
"""Scored, besides their rows and products: histories put together."""
_OF_EXACT = 1 / 3
"""Of `index.exact_seconds`, which leaves room: what the products of a search take."""
_PLACED_PER_SECOND, _IN_LEAVES_PER_SECOND = 100_000, 20_000
"""Titles put into leaves, users searched for among them; see `recbatch/index/leaves.py`."""
_MUCH_MORE = 20
"""Times the parent's work: then its seconds, mostly of what does not grow, say less than the constants."""
_EVIDENCE_OPERATIONS = 2.0e11
"""Multiplications and additions per second, of two cores: every event of a history with every title of the list."""
_START_SECONDS = {
    "read": 0.1,
    "train": 8.0,
    "judge": 1.4,
    "index": 0.5,
    "score": 0.2,
    "write": 1.0,
    "audit": 0.3,
    "publish": 2.0,
}
"""Imports and the work that does not grow."""
_STEP_SECONDS = 0.006
"""Of a gradient step besides its products, which are three times a matrix product."""
_PRODUCT_OPERATIONS = 5.0e10
"""Multiplications and additions per second, of two cores."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Predicted peak memory and disk in bytes and time in seconds, by what takes them."""

    run_date: str
    users: int
    items: int
    rows: int
    trains: bool
    reason: str
    memory: dict[str, int]
    memory_budget: int
    disk: dict[str, int]
    seconds: dict[str, float]
    based_on: str
    """The parent run, or `constants`."""

    @property
    def facts(self) -> Json:
        """For `--json`."""
        return {
            "run_date": self.run_date,
            "users": self.users,
            "items": self.items,
            "rows": self.rows,
            "trains": self.trains,
            "reason": self.reason,
            "peak_bytes": sum(self.memory.values()),
            "memory_budget": self.memory_budget,
            "fits": sum(self.memory.values()) <= self.memory_budget,
            "disk_bytes": sum(self.disk.values()),
            "minutes": sum(self.seconds.values()) / 60,
            "based_on": self.based_on,
            "memory": self.memory,
            "disk": self.disk,
            "seconds": self.seconds,
        }

    @property
    def text(self) -> str:
        """For people."""
        peak, fits = sum(self.memory.values()), sum(self.memory.values()) <= self.memory_budget
        memory = ", ".join(f"{name} {size // _MIB}" for name, size in self.memory.items() if size >= _MIB)
        disk = ", ".join(f"{name} {size / 1e6:,.1f}" for name, size in self.disk.items() if size >= 1e5)
        times = ", ".join(f"{name} {took:,.0f}" for name, took in self.seconds.items() if took >= 1)
        return "\n".join(
            (
                f"{self.run_date}: {self.users:,} users, {self.items:,} titles, {self.rows:,} rows;"
                f" predicted from {self.based_on}, nothing is written",
                f"train    {'yes' if self.trains else 'no'}: {self.reason}",
                f"memory   {peak // _MIB:,} MiB ({memory}); {'fits into' if fits else 'REFUSED by'}"
                f" --memory-budget {self.memory_budget // _MIB:,} MiB",
                f"disk     {sum(self.disk.values()) / 1e6:,.1f} MB ({disk})",
                f"time     {sum(self.seconds.values()) / 60:,.1f} minutes (seconds: {times})",
            )
        )


def forecast(lake: Lake, config: Config, run_date: date, say: Say) -> Forecast:
    """Reads the input as a night does, and predicts the rest; writes nothing and takes no lock.

    Raises:
        RecbatchError: the input, or the models with `--train never`, would stop the night.
    """
    live = views.live_runs(lake)
    tables = sources.read(config.source, before=run_date, today=now().date(), progress=say.progress)
    tables = dataset.without_users(tables, publish.forgotten(lake))
    tables = leave_out(tables, withdrawn.read(lake), merge_by_title=config.source.merge_by_title)
    data = dataset.build(tables, config.dataset, run_date, merge_by_title=config.source.merge_by_title)
    parent = _lake.parent_of(lake, live, data.run_date)
    start = train.predecessor(lake, parent, data, config.train, config.seed)
    decision = train.decide(
        lake, data=data, run_date=data.run_date, settings=config.train, seed=config.seed, parent=start
    )
    return predict(data, config, parent, trains=decision.train, reason=decision.reason, warm=bool(start))


def predict(
    data: Dataset, config: Config, parent: Json | None, *, trains: bool, reason: str, warm: bool = False
) -> Forecast:
    """What a night with this data comes to.

    Args:
        data: tonight's.
        config: settings.
        parent: manifest of the parent run.
        trains: whether it would train.
        reason: why.
        warm: whether that would start from the parent's model.
    """
    drivers = _rows(data, config)
    disk = _disk(data, drivers, parent) | ({"model": _model_bytes(data, config)} if trains else {})
    return Forecast(
        run_date=data.run_date.isoformat(),
        users=data.num_users,
        items=data.num_items,
        rows=drivers["recommendations"],
        trains=trains,
        reason=reason,
        memory=_memory.predict(data, config, trains=trains),
        memory_budget=memory_bytes(config.score.memory_budget),
        disk=disk,
        seconds=_seconds(data, config, drivers, parent, trains=trains, warm=warm),
        based_on=f"run {parent['run_id']}" if parent else "constants",
    )


def _rows(data: Dataset, config: Config) -> dict[str, int]:
    """Rows of every table that grows, about: a title that a user met twice counts as two here."""
    counts = data.events.counts
    unseen = np.maximum(data.num_items - (0 if config.score.keep_seen else np.minimum(counts, data.num_items)), 0)
    k, length = config.score.k, config.score.k + config.score.buffer
    lists, whole = (int(np.minimum(unseen, ranks).sum()) for ranks in (k, length))
    return {
        "recommendations": lists,
        "recommendations_buffer": whole - lists,
        "lookup.arrow": whole,
        "histories": int(np.minimum(counts, config.score.history).sum()),
        "users": data.num_users,
        "items": data.num_items,
        "similar_items": data.num_items * min(config.score.similar, data.num_items - 1),
        "popular": min(data.num_items, max(config.popular.length, length)),
    }


def _disk(data: Dataset, drivers: dict[str, int], parent: Json | None) -> dict[str, int]:
    if parent:
        return _disk_like(parent, drivers)
    titles = data.num_items * (1 - np.exp(-publish.ROWS_PER_GROUP / max(1, data.num_items)))
    per_row = _BYTES_PER_ROW + _BYTES_PER_TITLE * titles / publish.ROWS_PER_GROUP
    per = _BYTES_PER | {
        "recommendations": per_row,
        "recommendations_buffer": per_row,
        "lookup.arrow": _LOOKUP_BYTES_PER_ROW,
    }
    return {name: int(rows * per[name]) for name, rows in drivers.items()} | {"report and rest": _FIXED_BYTES}


def _disk_like(parent: Json, drivers: dict[str, int]) -> dict[str, int]:
    """The parent's files, each table as many times larger as it has more rows."""
    size: dict[str, int] = {}
    for name, facts in parent["files"].items():
        table = name.split("/", 1)[0]
        table = table if table in drivers else "report and rest"
        size[table] = size.get(table, 0) + facts["bytes"]
    was = parent["rows"] | {
        "lookup.arrow": parent["rows"]["recommendations"] + parent["rows"]["recommendations_buffer"]
    }
    return {name: int(held * drivers.get(name, 1) / max(1, was.get(name, 1))) for name, held in size.items()}


def _model_bytes(data: Dataset, config: Config) -> int:
    return 4 * _MODEL_ARRAYS * data.num_items * (config.train.embedding_dim + 1)


def _seconds(
    data: Dataset, config: Config, drivers: dict[str, int], parent: Json | None, *, trains: bool, warm: bool
) -> dict[str, float]:
    tonight = _Size(data.num_users, data.num_items, len(data.events.items), drivers["lookup.arrow"])
    took = {"read": 0.0, "train": _training(data, config, warm=warm) if trains else 0.1}
    took |= _from_constants(tonight, config, trains=trains)
    if not parent:
        return took
    before = _Size.of(parent)
    if trains and parent["train"].get("trained"):
        took["train"] = parent["seconds"]["train"]
    if tonight.rows > _MUCH_MORE * before.rows:
        return took
    expected = _from_constants(before, config, trains=parent["train"].get("trained", False))
    compiled = parent.get("compiling_seconds", {})  # which tonight finds
    for stage, seconds_ in parent["seconds"].items():
        if stage in expected:
            took[stage] *= max(0.0, seconds_ - compiled.get(stage, 0.0)) / expected[stage]
    return took


@dataclass(frozen=True, slots=True)
class _Size:
    """What seconds grow with."""

    users: int
    items: int
    events: int
    rows: int
    """Of lists, with their buffers."""

    @classmethod
    def of(cls, manifest: Json) -> _Size:
        rows = manifest["rows"]["recommendations"] + manifest["rows"]["recommendations_buffer"]
        return cls(manifest["users"], manifest["items"], manifest["counts"]["interactions"], rows)


def _from_constants(size: _Size, config: Config, *, trains: bool) -> dict[str, float]:
    """Seconds of every stage but training, which is judged and followed by a search for similar titles."""
    rows, events, dim = size.rows, size.events, config.train.embedding_dim + 1
    return {
        "read": _START_SECONDS["read"] + events / _EVENTS_PER_SECOND["read"],
        "judge": _START_SECONDS["judge"] + events / _EVENTS_PER_SECOND["judge"],
        "index": _START_SECONDS["index"],
        "score": _START_SECONDS["score"]
        + _searching(size, config, dim)
        + rows / _ROWS_PER_SECOND["score"]
        + size.users / _USERS_PER_SECOND
        + 2.0 * events * (config.score.k + config.score.buffer) * dim / _EVIDENCE_OPERATIONS,
        "write": _START_SECONDS["write"]
        + index.exact_seconds(size.items, size.items, dim) * _OF_EXACT * trains
        + rows / _ROWS_PER_SECOND["write"],
        "audit": _START_SECONDS["audit"] + rows / _ROWS_PER_SECOND["audit"],
        "publish": _START_SECONDS["publish"] + rows / _ROWS_PER_SECOND["publish"],  # in no manifest: sealed by then
    }


def _searching(size: _Size, config: Config, dim: int) -> float:
    exact = index.exact_seconds(size.users, size.items, dim) * _OF_EXACT
    in_leaves = size.items / _PLACED_PER_SECOND + size.users / _IN_LEAVES_PER_SECOND
    return min(exact, in_leaves) if config.index.engine == "auto" else exact


def _training(data: Dataset, config: Config, *, warm: bool) -> float:
    """Two sets of weights, each of two parts, all with as many steps as the settings allow."""
    settings = config.train
    users = int((data.events.counts > 0).sum())
    steps = min(settings.max_steps, settings.epochs * -(-users // settings.batch_size))
    steps = int(steps * settings.warm_epochs) if warm else steps
    step = _STEP_SECONDS + 6.0 * settings.batch_size * data.num_items * settings.embedding_dim / 2 / _PRODUCT_OPERATIONS
    whole = _START_SECONDS["train"] + 4 * steps * step
    return min(whole, seconds(settings.budget)) if settings.budget else whole
