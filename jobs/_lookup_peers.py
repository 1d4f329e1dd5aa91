"""Stores made for lookups, beside which `recbatch benchmark lookup` measures: the same rows, the same questions."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import views
from recbatch.contracts import Dataset, Json
from recbatch.store import Lake

_PEER_USERS = 100_000
"""Users in the peers' stores at most: a native table of 100M rows takes longer to fill than everything else here."""
_ASKED = {"parquet_unsorted": 20}
"""Users asked for where 200 would take minutes: each lookup reads the whole file."""


def timed(name: str, ask: Callable[[str], object], users: Sequence[str]) -> Json:
    """p50 and p99 in milliseconds over users, after all of them were asked for once."""
    times = []
    for warm in (False, True):
        for user in users:
            began = time.perf_counter()
            ask(user)
            if warm:
                times.append((time.perf_counter() - began) * 1000)
    p50, p99 = np.percentile(times, [50, 99])
    return {f"{name}_p50_ms": float(p50), f"{name}_p99_ms": float(p99)}


def measure_peers(lake: Lake, data: Dataset, folder: Path, *, seed: int = 7) -> Json:
    """The same rows of the first so many users in stores made for lookups, and in Parquet without an order."""
    count = min(data.num_users, _PEER_USERS)
    chosen = random.Random(seed)  # noqa: S311
    users = data.user_ids.take(pa.array(chosen.sample(range(count), min(200, count)))).to_pylist()
    facts: Json = {"peer_users": count}
    with views.connect(lake) as con:
        last = data.user_ids[count - 1].as_py()
        rows = views.query(con, "from recommendations where user_id <= ?", [last])
    for name, peer in _PEERS.items():
        if name != "lmdb" or importlib.util.find_spec("lmdb"):
            with peer(rows, folder) as ask:
                facts |= timed(name, ask, users[: _ASKED.get(name, len(users))])
    return facts


@contextlib.contextmanager
def _duckdb_indexed(rows: pa.Table, folder: Path) -> Iterator[Callable[[str], object]]:
    with closing(duckdb.connect(str(folder / "peer.duckdb"))) as con:
        con.register("rows", rows)
        con.execute("create table lists as from rows; create index by_user on lists(user_id)")
        yield lambda user: con.execute("from lists where user_id = ? order by rank", [user]).fetchall()


@contextlib.contextmanager
def _sqlite(rows: pa.Table, folder: Path) -> Iterator[Callable[[str], object]]:
    with closing(sqlite3.connect(folder / "peer.sqlite")) as con:
        con.execute(
            "create table lists(user_id text, rank int, item_id text, title text, score real, source text,"
            " because_item_id text, primary key(user_id, rank)) without rowid"
        )
        for batch in rows.to_batches(max_chunksize=100_000):
            columns = [column.to_pylist() for column in batch.columns]
            con.executemany("insert into lists values (?, ?, ?, ?, ?, ?, ?)", zip(*columns, strict=True))
        con.commit()
        yield lambda user: con.execute("select * from lists where user_id = ? order by rank", [user]).fetchall()


@contextlib.contextmanager
def _parquet_unsorted(rows: pa.Table, folder: Path) -> Iterator[Callable[[str], object]]:
    path = folder / "unsorted.parquet"
    order = np.random.default_rng(7).permutation(rows.num_rows)
    pq.write_table(rows.take(pa.array(order)), path, compression="zstd")
    with closing(duckdb.connect()) as con:
        con.execute("set parquet_metadata_cache = true")
        con.execute(f"create view lists as from read_parquet({views.quote_literal(path)})")
        yield lambda user: con.execute("from lists where user_id = ? order by rank", [user]).fetchall()


@contextlib.contextmanager
def _lmdb(rows: pa.Table, folder: Path) -> Iterator[Callable[[str], object]]:
    lmdb = importlib.import_module("lmdb")
    with lmdb.open(str(folder / "peer.lmdb"), map_size=1 << 36) as environment:
        lists: dict[str, list[tuple[object, ...]]] = {}
        for batch in rows.to_batches():
            for user, *row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                lists.setdefault(user, []).append(tuple(row))
        with environment.begin(write=True) as transaction:
            for user, own in lists.items():
                transaction.put(user.encode(), json.dumps(own).encode())
        with environment.begin() as transaction:
            yield lambda user: json.loads(transaction.get(user.encode()))


_PEERS = {
    "duckdb_indexed": _duckdb_indexed,
    "sqlite": _sqlite,
    "lmdb": _lmdb,
    "parquet_unsorted": _parquet_unsorted,
}
