"""`lookup.arrow` and its Reader: the same lists as SQL gives, one run at a time, a new one without restart."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from recbatch import lookup, publish, schemas, store, views
from recbatch.errors import DataError, InputMissing, StorageFailed
from recbatch.lookup import Reader, writer
from tests.unit import _lake_fixture as lake_fixture
from tests.unit._lake_fixture import FIRST, SECOND, K

USERS = ["a", "b'; drop", "c", "d"]
STRANGERS = ["", "0", "a\0", "aa", "b", "zz", "東京", "\ud800", "x" * 10_000]


def add(lake: store.Lake, run_id: str, rows=None) -> None:
    lake.create()
    folder = lake_fixture.write_run(lake.run(run_id), rows, split=2)
    lookup.write(folder, K)
    store.seal(folder, lake_fixture.head(run_id))
    views.write_catalog(lake, [*views.live_runs(lake), run_id])
    publish.write_latest(lake, run_id)


@pytest.fixture
def lake(tmp_path: Path) -> store.Lake:
    lake = store.Lake(tmp_path / "lake")
    add(lake, FIRST)
    return lake


def test_every_list_is_the_one_that_sql_gives_whatever_the_size_of_the_blocks(lake, tmp_path, monkeypatch):
    with views.connect(lake) as con:
        expected = {
            user: con.execute("select * exclude user_id from recs_for($1) order by rank", [user]).fetchall()
            for user in [*USERS, *STRANGERS[1:7]]
        }
    for rows_per_batch, rows_per_read in [(1, 1), (4, 2), (2_000_000, 320_000)]:
        monkeypatch.setattr(writer, "_ROWS_PER_BATCH", rows_per_batch)
        monkeypatch.setattr(writer, "_ROWS_PER_READ", rows_per_read)
        lookup.write(lake.run(FIRST), K)
        reader = Reader(lake.root)
        assert {user: [tuple(row) for row in reader.get(user)] for user in expected} == expected
        assert reader.get_many(expected) == [reader.get(user) for user in expected]


def test_an_unknown_user_gets_k_popular_rows_and_a_known_one_without_any_gets_none(lake):
    rows = lake_fixture.tables()
    rows["recommendations"] = [row for row in rows["recommendations"] if row[0] != "c"]
    add(lake, SECOND, rows)
    reader = Reader(lake.root)
    assert reader.get("c") == []
    assert "c" in reader
    for stranger in STRANGERS:
        assert [(row.rank, row.item_id, row.source) for row in reader.get(stranger)] == [
            (1, "1", "popular"),
            (2, "2", "popular"),
            (3, "3", "popular"),
        ]
        assert stranger not in reader


@pytest.mark.parametrize(
    ("k", "items"), [(0, []), (-1, []), (1, ["2"]), (3, ["2", "3", "10"]), (9, ["2", "3", "10", "11"])]
)
def test_a_caller_may_ask_for_fewer_or_draw_on_the_buffer(lake, k, items):
    assert [row.item_id for row in Reader(lake.root).get("a", k)] == items


def test_a_run_without_users_still_serves_what_is_popular(lake):
    add(lake, SECOND, {"users": [], "recommendations": [], "recommendations_buffer": []})
    assert [row.item_id for row in Reader(lake.root).get("a")] == ["1", "2", "3"]


def test_a_new_run_is_noticed_and_what_was_mapped_outlives_its_file(lake):
    reader, slow = Reader(lake.root, refresh_seconds=0), Reader(lake.root, refresh_seconds=3600)
    assert (reader.run_id, "d" in reader) == (FIRST, False)
    add(lake, SECOND, lake_fixture.second_night())
    (lake.run(FIRST) / lookup.FILE).unlink()
    assert (reader.run_id, "d" in reader, reader.k) == (SECOND, True, K)
    assert (slow.run_id, [row.item_id for row in slow.get("c")]) == (FIRST, ["1", "2"])
    publish.write_latest(lake, FIRST)
    assert reader.run_id == SECOND
    assert "lookup.arrow: no such file; publish the run again" in reader.trouble
    publish.write_latest(lake, SECOND)
    assert (reader.run_id, reader.trouble) == (SECOND, None)


def test_withdrawn_titles_are_gone_and_the_buffer_moves_up(lake):
    reader = Reader(lake.root, refresh_seconds=0)
    latest = store.read_checked_json(lake.latest)
    store.write_checked_json(lake.latest, latest | {"withdrawn": ["1", "3", "unknown"]})
    assert [(row.rank, row.item_id, row.because_item_id) for row in reader.get("a")] == [
        (1, "2", None),
        (2, "10", None),
        (3, "11", None),
    ]
    assert [(row.rank, row.item_id) for row in reader.get("nobody")] == [(1, "2"), (2, "10"), (3, "11")]
    store.write_checked_json(lake.latest, latest)
    assert [row.item_id for row in reader.get("a")] == ["2", "3", "10"]


def test_threads_share_a_reader_while_runs_change(lake):
    add(lake, SECOND, lake_fixture.second_night())
    reader, expected = Reader(lake.root, refresh_seconds=0), {}
    for run_id in (FIRST, SECOND):
        publish.write_latest(lake, run_id)
        expected[run_id] = reader.get_many(USERS)
    wrong: list[object] = []

    def ask() -> None:
        for _ in range(300):
            found = reader.get_many(USERS)
            if found not in expected.values():
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(40):
        publish.write_latest(lake, [FIRST, SECOND][number % 2])
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("enabled", [True, False])
def test_many_lists_leave_the_garbage_collector_as_it_was(lake, enabled):
    reader = Reader(lake.root)
    (gc.enable if enabled else gc.disable)()
    try:
        assert len(reader.get_many(USERS)) == len(USERS)
        with pytest.raises(AttributeError):
            reader.get_many(["a", None])
        assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_the_file_is_part_of_the_sealed_run_and_plain_arrow(lake):
    assert lookup.FILE in store.unseal(lake.run(FIRST))["files"]
    table = pa.ipc.open_file(str(lake.run(FIRST) / lookup.FILE)).read_all()
    assert table["user_id"].to_pylist() == ["", "a", "b'; drop", "c"]
    assert table["rows"].to_pylist()[1][0] == {
        "item": {"item_id": "2", "title": "Brazil (1985)"},
        "score": 9.0,
        "source": schemas.SOURCES.index("model"),
        "because": 0,
    }


@pytest.mark.parametrize("change", ["user", "order", "item"])
def test_rows_that_the_audits_exclude_are_refused(tmp_path, change):
    rows = lake_fixture.tables()
    if change == "user":
        rows["recommendations"].append(("zz", 1, "1", "Alien (1979)", 1.0, "model", None))
    elif change == "order":
        rows["recommendations"] = rows["recommendations"][::-1]
    else:
        rows["recommendations"][0] = ("a", 1, "99", "?", 1.0, "model", None)
    with pytest.raises(DataError, match=r"user zz|not in order|not sorted|item 99"):
        lookup.write(lake_fixture.write_run(tmp_path / "run", rows), K)


def test_what_is_missing_or_damaged_is_named_with_its_cure(lake, tmp_path):
    with pytest.raises(InputMissing, match="recbatch nightly"):
        Reader(tmp_path / "nothing")
    path = lake.run(FIRST) / lookup.FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StorageFailed, match="recbatch verify"):
        Reader(lake.root)
    path.unlink()
    with pytest.raises(InputMissing, match="--force"):
        Reader(lake.root)


def test_a_reader_loads_neither_tensorflow_nor_duckdb(lake):
    code = (
        f"import sys; from recbatch.lookup import Reader; assert Reader({str(lake.root)!r}).get('a');"
        "assert not {'tensorflow', 'duckdb', 'click', 'pyarrow.parquet'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
