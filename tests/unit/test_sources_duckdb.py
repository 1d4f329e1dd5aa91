"""`duckdb:FILE`: the same tables, the same rules and the same words as `files:DIR`."""

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime

import duckdb
import pyarrow.parquet as pq
import pytest

from recbatch import sources, store
from recbatch.config import Source
from recbatch.errors import DataError, InputMissing, StorageFailed, UsageError

EVENTS = """create table interactions as select * from (values
    ('002', '7', timestamptz '2019-12-31 01:00:00+01', 4.5::decimal(3, 1)),
    ('2', '0104257', timestamptz '2019-12-31 23:59:59+00', null),
    ('2', 'nowhere', timestamptz '2019-12-31 12:00:00+00', null),
    ('3', '7', timestamptz '2020-01-02 00:00:00+00', 1.0)) t(user_id, item_id, occurred_at, rating)"""
ITEMS = """create table items as
    select * from (values ('7', 'Søvn', ['Drama'], 1999), ('0104257', 'Kruistocht', null, 2006)) t(item_id, title, genres, year)"""
USERS = "create table people as select '002' as user_id, 'F'::enum('F', 'M') as gender"


def database(tmp_path, *statements):
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as con:
        for statement in statements:
            con.execute(statement)
    return path


def read(path, **settings):
    source = Source(uri=f"duckdb:{path}", **({"max_quarantined_share": 0.5} | settings))
    return sources.read(source, before=date(2020, 1, 1), today=date(2026, 1, 1))


def test_tables_and_views_come_in_the_contracts_types(tmp_path):
    path = database(tmp_path, EVENTS, ITEMS, USERS, "create view users as from people")
    before = store.sha256_file(path)
    tables = read(path)
    assert tables.interactions.to_pylist() == [
        {"user_id": "002", "item_id": "7", "occurred_at": datetime(2019, 12, 31), "rating": 4.5, "weight": None},  # noqa: DTZ001
        {
            "user_id": "2",
            "item_id": "0104257",
            "occurred_at": datetime(2019, 12, 31, 23, 59, 59),  # noqa: DTZ001
            "rating": None,
            "weight": None,
        },
    ]
    assert tables.items.to_pylist()[1] == {"item_id": "0104257", "title": "Kruistocht", "genres": None, "year": 2006}
    assert tables.users.to_pylist() == [{"user_id": "002", "gender": "F"}]
    assert tables.counts["after_run_date"] == 1
    (file,) = tables.inputs
    assert (file.name, file.sha256, file.rows) == (str(path), before, 4 + 2 + 1)
    assert store.sha256_file(path) == before, "read-only"


def test_a_rejected_row_is_told_by_table_and_row_number(tmp_path):
    path = database(tmp_path, EVENTS, ITEMS)
    (row,) = read(path).quarantine.to_pylist()
    assert (row["file"], row["row"], row["reason"]) == (f"{path}:interactions", 3, "unknown_item")
    assert json.loads(row["content"])["item_id"] == "nowhere"
    with pytest.raises(DataError, match=r"1 of 4 rows rejected .* first .*:interactions row 3"):
        read(path, max_quarantined_share=0.01)


def test_the_same_rows_from_files_and_from_duckdb_are_the_same_tables(tmp_path):
    path = database(tmp_path, EVENTS, ITEMS)
    with duckdb.connect(str(path), read_only=True) as con:
        for name in ("interactions", "items"):
            pq.write_table(con.sql(f"from {name}").to_arrow_table(), tmp_path / f"{name}.parquet")
    ours = read(path)
    theirs = sources.read(
        Source(uri=f"files:{tmp_path}", max_quarantined_share=0.5), before=date(2020, 1, 1), today=date(2026, 1, 1)
    )
    for name in ("interactions", "items", "users"):
        assert getattr(ours, name).equals(getattr(theirs, name)), name
    assert ours.counts == theirs.counts


@pytest.mark.parametrize(
    ("statements", "error", "words"),
    [
        ([EVENTS], InputMissing, "no table or view items; it has interactions: add one, e.g. create view items"),
        ([], InputMissing, "no table or view interactions; it has none"),
        (
            [ITEMS, "create table interactions as select 1 as user"],
            DataError,
            ":interactions: no column user_id; rename",
        ),
        (
            [ITEMS, "create table t as select 1 as a", "create view interactions as select a from t", "drop table t"],
            DataError,
            "interactions cannot be read",
        ),
    ],
)
def test_what_is_missing_is_said_with_the_cure(tmp_path, statements, error, words):
    with pytest.raises(error, match=words):
        read(database(tmp_path, *statements))


def test_a_file_that_is_none_is_said(tmp_path):
    with pytest.raises(InputMissing, match=r"none\.duckdb: no such file; name a DuckDB database"):
        read(tmp_path / "none.duckdb")
    (tmp_path / "text.duckdb").write_text("not a database at all" * 1000)
    with pytest.raises(DataError, match="not a DuckDB database that can be read"):
        read(tmp_path / "text.duckdb")
    with pytest.raises(UsageError, match="duckdb:FILE"):
        sources.read(Source(uri="duckdb:"), before=date(2020, 1, 1), today=datetime.now(UTC).date())


def test_a_database_open_for_writing_elsewhere_is_said(tmp_path):
    path = database(tmp_path, EVENTS, ITEMS)
    hold = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert other.stdout.readline() == b"held\n"
    try:
        with pytest.raises(StorageFailed, match="another process has it open for writing"):
            read(path)
    finally:
        other.communicate()
