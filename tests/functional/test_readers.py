"""Law 2: whoever reads without pause while runs are published sees one run or another, never a mixture or an error."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from recbatch.jobs import _lake

from recbatch import publish, schemas, store
from recbatch.store import Lake
from tests.unit import _lake_fixture as rows_of

READER = ["nice", "-n", "5", sys.executable, Path(__file__).with_name("_reader.py")]
"""Three of them would leave whoever publishes a third of a core."""
KINDS = ("duckdb", "pyarrow", "polars")
KEPT = 5
"""Runs that stay; far fewer than gc's limits would keep."""


def tables(number: int) -> dict[str, pa.Table]:
    """A night whose number stands in every table: 100 users with four titles, over four files."""
    word = f"night {number}"
    rows = rows_of.tables()
    rows["recommendations"] = [
        (f"u{user:03}", rank, str(rank), word, 9.0 - rank, "model", None)
        for user in range(100)
        for rank in (1, 2, 3, 4)
    ]
    rows["items"] = [(str(n), word, None, 1, rows_of.DAY, rows_of.DAY, True, 1979) for n in (1, 2, 3, 4)]
    rows["popular"] = [("all", n, str(n), word, 9.0 - n) for n in (1, 2, 3, 4)]
    rows["similar_items"] = [(str(n), 1, str(n % 4 + 1), word, 1.0) for n in (1, 2, 3, 4)]
    rows["quarantine"] = [("x.csv", 1, "unknown_item", word)]
    rows["users"] = [(f"u{user:03}", 1, rows_of.DAY, rows_of.DAY, "hot", 4, None, "F") for user in range(100)]
    found = {}
    for table in schemas.RUN_TABLES:
        schema = schemas.arrow(table)
        if table.name in rows_of.EXTRA:
            schema = schema.append(rows_of.EXTRA[table.name])
        columns = list(zip(*rows[table.name], strict=True)) or [()] * len(schema)
        found[table.name] = pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
    return found


def write(folder: Path, number: int) -> dict[str, int]:
    counts, contents = {}, tables(number)
    for table in schemas.RUN_TABLES:
        rows = contents[table.name]
        with publish.TableWriter(folder, table) as writer:
            for start in range(0, max(rows.num_rows, 1), 100):
                writer.write(rows.slice(start, 100))
                writer.next_file()
        counts[table.name] = writer.rows
    return counts


def publish_night(lake: Lake, number: int, live: list[str]) -> list[str]:
    """The protocol, with a gc that keeps `KEPT` runs."""
    run_id = f"2026-03-01.{number}"
    with store.locked(lake):
        folder = publish.stage(lake, run_id)
        store.seal(folder, rows_of.head(run_id, k=4, rows=write(folder, number)))
        publish.promote(lake, folder)
        _lake.commit(lake, [*live, run_id][-KEPT:])
        for gone in [*live, run_id][: -KEPT * 2]:
            store.discard(lake, lake.run(gone))
    return [*live, run_id][-KEPT * 2 :]


def overwrite_night(lake: Lake, number: int, live: list[str]) -> list[str]:
    """What many jobs do: the new files over the old ones, then the pointer."""
    folder = lake.run(live[-1])
    store.seal(folder, rows_of.head(live[-1], k=4, rows=write(folder, number)))
    publish.write_latest(lake, live[-1])
    return live


def watch(lake: Lake, nights: int, night, readers=KINDS) -> dict[str, int]:
    """Publishes while each reader reads; returns what they saw in all."""
    lake.create()
    live = publish_night(lake, 1, [])
    jobs = [
        subprocess.Popen([*READER, kind, lake.root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for kind in readers
    ]
    try:
        assert all(job.stdout.readline() == "reading\n" for job in jobs)
        for number in range(2, nights + 2):
            live = night(lake, number, live)
        told = [_told(job) for job in jobs]
    finally:
        for job in jobs:
            job.kill()
            job.wait()
    for kind, one in zip(readers, told, strict=True):
        print(kind, one["reads"], "reads of", one["nights"], "nights", one["errors"][:2], one["mixtures"][:2])
    assert any(one["nights"] > 1 for one in told), "somebody saw more than one night"
    return {
        key: sum(one[key] if key == "reads" else len(one[key]) for one in told)
        for key in ("reads", "errors", "mixtures")
    }


def _told(job) -> dict:
    text = job.communicate("")[0]
    if job.returncode:  # who maps a file that is overwritten may die of it (SIGBUS)
        return {"reads": 0, "errors": [f"exit {job.returncode}"], "mixtures": [], "nights": 0}
    return json.loads(text)


def test_readers_see_one_whole_run_while_five_are_published(tmp_path):
    seen = watch(Lake(tmp_path / "lake"), 5, publish_night)
    assert (seen["errors"], seen["mixtures"]) == (0, 0)
    assert seen["reads"] >= 30


def test_the_same_readers_find_a_lake_that_is_overwritten_in_place(tmp_path):
    seen = watch(Lake(tmp_path / "lake"), 12, overwrite_night, ("pyarrow", "polars"))
    assert seen["errors"] + seen["mixtures"] > 0


@pytest.mark.long
@pytest.mark.readers
def test_readers_while_five_hundred_runs_are_published(tmp_path):
    seen = watch(Lake(tmp_path / "lake"), 500, publish_night)
    print(f"500 publications, {seen['reads']:,} reads: {seen['errors']} errors, {seen['mixtures']} mixtures")
    assert (seen["errors"], seen["mixtures"]) == (0, 0)
    assert seen["reads"] >= 10_000
