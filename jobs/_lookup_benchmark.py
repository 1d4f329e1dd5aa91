"""`recbatch benchmark lookup`: how fast one user's list comes, beside stores made for that."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from recbatch import dataset, lookup, publish, schemas, score, store, views
from recbatch.config import Config
from recbatch.contracts import NO_ITEM, Dataset, Int64s, Json, Lists, Popular, SourceTables
from recbatch.lookup import Reader
from recbatch.publish import TableWriter
from recbatch.store import Lake

from ._lookup_peers import measure_peers, timed
from ._options import json_option, print_json
from ._run import machine
from ._tables import print_table

_DAY = date(2020, 2, 1)
_TITLES = 27_000
_QUICK_USERS = 50_000
_COLD_STARTS = 9
_COLD = """
from recbatch.lookup import Reader
Reader({lake!r}).get({user!r})
"""
_WITHDRAWALS = 3
_WITHDRAW = "from recbatch.jobs.cli import main; main({arguments!r})"


def generate(lake: Lake, users: int, config: Config, *, seed: int = 7) -> Dataset:
    """Publishes one run of so many users with random lists, written by what writes every run.

    Returns:
        The users and titles.
    """
    data, random_ = world(users, seed), np.random.default_rng(seed)
    run_id = publish.next_run_id(lake, _DAY)
    folder = publish.stage(lake, run_id)
    popular = score.by_popularity(data, data.events, _DAY, config.popular)
    recommended, rows = _write_lists(folder, data, popular, config, random_)
    known = data.events.counts
    contents = {table: schemas.arrow(table).empty_table() for table in schemas.RUN_TABLES}
    contents[schemas.POPULAR] = score.popular_table(popular, data, config.popular.length)
    contents[schemas.USERS] = score.user_table(
        data, known=known, trained_before=None, recommended=recommended, k=config.score.k
    )
    contents[schemas.ITEMS] = score.item_table(data, np.ones(data.num_items, dtype=np.bool_))
    for table in schemas.RUN_TABLES:
        if table.name not in rows:
            rows[table.name] = publish.write_table(folder, table, contents[table])
    lookup.write(folder, config.score.k)
    store.seal(folder, _head(run_id, users, rows, config))
    publish.promote(lake, folder)
    views.write_catalog(lake, [run_id])
    publish.write_latest(lake, run_id)
    return data


def world(users: int, seed: int) -> Dataset:
    """So many users with one event each, and a catalogue of the size of MovieLens 20M's."""
    random_ = np.random.default_rng(seed)
    user_ids = pa.array([f"{number:08d}" for number in random_.permutation(users)])
    titles = pa.array([f"A Title of Some Length, Number {number} (1999)" for number in range(_TITLES)])
    item_ids = pa.array([str(number) for number in range(_TITLES)])
    schema = schemas.arrow(schemas.INTERACTIONS)
    interactions = pa.table(
        {
            "user_id": user_ids,
            "item_id": item_ids.take(pa.array(random_.zipf(1.3, users) % _TITLES)),
            "occurred_at": pa.array([datetime(2020, 1, 31)] * users, pa.timestamp("us")),  # noqa: DTZ001 - UTC
            "rating": pa.nulls(users, pa.float32()),
            "weight": pa.nulls(users, pa.float32()),
        },
        schema=schema,
    )
    items = pa.table({"item_id": item_ids, "title": titles, "genres": pa.nulls(_TITLES, pa.list_(pa.string()))})
    quarantine = schemas.arrow(schemas.QUARANTINE).empty_table()
    tables = SourceTables(interactions, items, pa.table({"user_id": user_ids}), quarantine, (), merge_by_title=False)
    return dataset.build(tables, Config().dataset, _DAY)


def _write_lists(
    folder: Path, data: Dataset, popular: Popular, config: Config, random_: np.random.Generator
) -> tuple[Int64s, dict[str, int]]:
    k, length = config.score.k, min(config.score.k + config.score.buffer, data.num_items)
    with (
        TableWriter(folder, schemas.RECOMMENDATIONS) as lists,
        TableWriter(folder, schemas.RECOMMENDATIONS_BUFFER) as buffer,
    ):
        for start in range(0, data.num_users, config.score.users_per_shard):
            end = min(start + config.score.users_per_shard, data.num_users)
            for first in range(start, end, 4096):
                batch = _random_lists(np.arange(first, min(first + 4096, end), dtype=np.int32), data, length, random_)
                lists.write(score.to_table(batch, data, last_rank=k))
                buffer.write(score.to_table(batch, data, first_rank=k + 1))
            lists.next_file()
            buffer.next_file()
    rows = {schemas.RECOMMENDATIONS.name: lists.rows, schemas.RECOMMENDATIONS_BUFFER.name: buffer.rows}
    return np.full(data.num_users, min(k, length), dtype=np.int64), rows


def _random_lists(users: np.ndarray, data: Dataset, length: int, random_: np.random.Generator) -> Lists:
    shape = (len(users), length)
    begin, step = random_.integers(data.num_items, size=(len(users), 1)), random_.integers(1, 199, size=(len(users), 1))
    positions = (begin + step * np.arange(length)) % data.num_items  # distinct: 199 * length < titles
    scores = -np.sort(-random_.random(shape, dtype=np.float32), axis=1)
    because = random_.integers(NO_ITEM, data.num_items, size=shape)
    model = np.full(shape, schemas.SOURCES.index("model"), dtype=np.int8)
    return Lists(users, positions.astype(np.int32), scores, model, because.astype(np.int32))


def _head(run_id: str, users: int, rows: dict[str, int], config: Config) -> Json:
    return {
        "contract": schemas.CONTRACT_VERSION,
        "run_id": run_id,
        "run_date": _DAY.isoformat(),
        "k": config.score.k,
        "users": users,
        "rows": rows,
    }


def measure(lake: Lake, data: Dataset, *, seed: int = 7) -> Json:
    """Times of `recs_for` and `Reader`, warm, and of a cold process."""
    chosen = random.Random(seed)  # noqa: S311 - whom to ask for, no secret
    users = data.user_ids.take(pa.array(chosen.sample(range(data.num_users), min(2_000, data.num_users)))).to_pylist()
    facts: Json = {"users": data.num_users, "k": Config().score.k}
    with views.connect(lake) as con:
        facts |= timed("view", lambda user: con.execute("from recs_for(?)", [user]).fetchall(), users[:500])
    reader = Reader(lake.root)
    facts |= timed("reader", reader.get, users)
    began = time.perf_counter()
    for user in users:
        reader.get(user)
    facts["reader_lookups_per_second"] = len(users) / (time.perf_counter() - began)
    facts["thousand_ids_ms"] = _median_ms(lambda: reader.get_many(users[:1000]), 9)
    cold = _COLD.format(lake=str(lake.root), user=users[0])
    facts["cold_above_import_ms"] = _cold_ms(cold) - _cold_ms("import pyarrow")
    file = lake.run(reader.run_id) / lookup.FILE
    facts["lookup_bytes"] = file.stat().st_size
    return facts


def _median_ms(act: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        taken.append((time.perf_counter() - began) * 1000)
    return float(np.median(taken))


def _cold_ms(code: str) -> float:
    command = [sys.executable, "-c", code]
    return _median_ms(lambda: subprocess.run(command, check=True), _COLD_STARTS)  # noqa: S603 - our own interpreter


def withdraw_seconds(lake: Lake, data: Dataset) -> float:
    """Median from the start of `recbatch withdraw ITEM`, a process, until neither `Reader` nor `recs_for` has it.

    Raises:
        RuntimeError: a reader still has it.
    """
    reader, user = Reader(lake.root), data.user_ids[0].as_py()
    taken = []
    for _ in range(_WITHDRAWALS):
        item = reader.get(user)[0].item_id
        code = _WITHDRAW.format(arguments=["withdraw", item, "--lake", str(lake.root)])
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        with views.connect(lake) as con:
            seen = {row[0] for row in con.execute("select item_id from recs_for(?)", [user]).fetchall()}
        seen |= {row.item_id for row in reader.get(user)}
        taken.append(time.perf_counter() - began)
        if item in seen:
            raise RuntimeError(f"{item} is withdrawn, and a reader still has it")
    return float(np.median(taken))


@click.command("lookup")
@json_option
@click.option("--users", type=click.IntRange(1), default=1_000_000, show_default=True, help="Users, 100 rows each.")
@click.option("--quick", is_flag=True, help="50,000 users.")
@click.option(
    "--dir", "where", type=click.Path(path_type=Path), help="Where to put the files for a while; default: /tmp."
)
def lookup_command(as_json: bool, users: int, quick: bool, where: Path | None) -> None:
    """Measure how fast one user's list comes: `recs_for`, `Reader`, and stores made for lookups.

    A run of random lists is written by what writes every run, then asked for users at random, warm. 1M users take
    about 3 GB of disk and some minutes. LMDB takes part where it is installed: pip install 'recbatch[bench]'.

    \b
    recbatch benchmark lookup
    recbatch benchmark lookup --quick --json
    """
    folder = Path(tempfile.mkdtemp(prefix="recbatch-lookup-", dir=where))
    try:
        lake = Lake(folder / "lake")
        lake.create()
        began = time.monotonic()
        data = generate(lake, _QUICK_USERS if quick else users, Config())
        written = time.monotonic() - began
        facts = measure(lake, data) | measure_peers(lake, data, folder)
        facts |= {"withdraw_seconds": withdraw_seconds(lake, data), "write_seconds": written}
    finally:
        shutil.rmtree(folder)
    if as_json:
        print_json(facts | {f"machine_{key}": value for key, value in machine().items()})
        return
    print_table(
        pa.table(
            {"figure": list(facts), "value": [f"{value:,.3f}".rstrip("0").rstrip(".") for value in facts.values()]}
        )
    )
