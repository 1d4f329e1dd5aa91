# ruff: noqa: DTZ001 (tables hold UTC without a zone)
"""`files:DIR`: where tables are looked for, and what types and spellings of a column mean."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbatch import schemas, sources
from recbatch.config import Source
from recbatch.contracts import SourceTables
from recbatch.errors import DataError, InputMissing, UsageError

ITEMS = "item_id,title,genres,year\n7,Søvn,Drama|Short,1999\n0104257,Kruistocht in spijkerbroek,,2006\n"
EVENTS = "user_id,item_id,occurred_at,rating\n2,0104257,2019-12-30T10:00:00Z,8\n002,7,2019-12-31 23:59:59.5,7.5\n"


def read(folder: Path, before: date = date(2020, 1, 1), **settings: object) -> SourceTables:
    source = Source(uri=f"files:{folder}", **settings)
    return sources.read(source, before=before, today=date(2026, 1, 1))


def write(folder: Path, **tables: str | pa.Table) -> Path:
    for name, table in tables.items():
        if isinstance(table, str):
            (folder / f"{name}.csv").write_text(table, "utf-8")
        else:
            pq.write_table(table, folder / f"{name}.parquet")
    return folder


def test_csv_ids_keep_their_zeros_and_columns_come_in_the_contracts_types(tmp_path: Path) -> None:
    tables = read(write(tmp_path, interactions=EVENTS, items=ITEMS))
    assert tables.interactions.schema.equals(schemas.arrow(schemas.INTERACTIONS))
    assert tables.interactions.to_pylist() == [
        {
            "user_id": "2",
            "item_id": "0104257",
            "occurred_at": datetime(2019, 12, 30, 10),
            "rating": 8.0,
            "weight": None,
        },
        {
            "user_id": "002",
            "item_id": "7",
            "occurred_at": datetime(2019, 12, 31, 23, 59, 59, 500000),
            "rating": 7.5,
            "weight": None,
        },
    ]
    assert tables.items.to_pylist() == [
        {"item_id": "7", "title": "Søvn", "genres": ["Drama", "Short"], "year": "1999"},
        {"item_id": "0104257", "title": "Kruistocht in spijkerbroek", "genres": None, "year": "2006"},
    ]
    assert tables.users.num_rows == 0
    assert tables.users.schema.equals(schemas.arrow(schemas.SOURCE_USERS))
    assert tables.merge_by_title is False
    assert tables.counts == {"items": 2, "interactions": 2, "after_run_date": 0}


def test_every_file_is_accounted_for(tmp_path: Path) -> None:
    write(tmp_path, interactions=EVENTS, items=ITEMS, users="user_id,plan\n2,free\n9,\n")
    tables = read(tmp_path)
    assert [(entry.name, entry.sha256, entry.bytes, entry.rows) for entry in tables.inputs] == [
        (str(tmp_path / f"{name}.csv"), hashlib.sha256(text.encode()).hexdigest(), len(text.encode()), 2)
        for name, text in (("interactions", EVENTS), ("items", ITEMS), ("users", "user_id,plan\n2,free\n9,\n"))
    ]
    assert tables.users.to_pylist() == [{"user_id": "2", "plan": "free"}, {"user_id": "9", "plan": None}]


def test_parquet_integers_become_text(tmp_path: Path) -> None:
    events = pa.table({"user_id": [1, 2], "item_id": pa.array([7, 8], pa.uint16())})
    items = pa.table({"item_id": [7, 8], "title": pa.array(["a", "b"]).dictionary_encode(), "genres": [["x"], None]})
    tables = read(write(tmp_path, interactions=events, items=items))
    assert tables.interactions["user_id"].to_pylist() == ["1", "2"]
    assert tables.interactions["item_id"].to_pylist() == ["7", "8"]
    assert tables.interactions["occurred_at"].to_pylist() == [None, None]
    assert tables.items.to_pylist() == [
        {"item_id": "7", "title": "a", "genres": ["x"]},
        {"item_id": "8", "title": "b", "genres": None},
    ]


def test_floats_are_no_ids(tmp_path: Path) -> None:
    write(tmp_path, interactions=pa.table({"user_id": [1.0], "item_id": ["7"]}), items=ITEMS)
    with pytest.raises(
        DataError, match=r"interactions\.parquet row 1: column user_id is double.*write the ids as text"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    "times",
    [
        pa.array([datetime(2019, 12, 30, 10)], pa.timestamp("s")),
        pa.array([datetime(2019, 12, 30, 10)], pa.timestamp("ns")),
        pa.array([datetime(2019, 12, 30, 10, tzinfo=UTC)], pa.timestamp("ms", "UTC")),
        pa.array([datetime(2019, 12, 30, 5, tzinfo=timezone(timedelta(hours=-5)))], pa.timestamp("us", "America/Lima")),
        pa.array(["2019-12-30T10:00:00Z"]),
        pa.array(["2019-12-30 12:00:00+02:00"]),
        pa.array(["2019-12-30T10:00"]),
        pa.array(["1577700000"]),
        pa.array([1577700000]),
        pa.array([1577700000.0]),
    ],
    ids=str,
)
def test_times_of_any_kind_become_utc(tmp_path: Path, times: pa.Array) -> None:
    write(tmp_path, interactions=pa.table({"user_id": ["1"], "item_id": ["7"], "occurred_at": times}), items=ITEMS)
    assert read(tmp_path).interactions["occurred_at"].to_pylist() == [datetime(2019, 12, 30, 10)]


def test_dates_are_midnights(tmp_path: Path) -> None:
    events = pa.table({"user_id": ["1"], "item_id": ["7"], "occurred_at": [date(2019, 12, 30)]})
    write(tmp_path, interactions=events, items=ITEMS)
    assert read(tmp_path).interactions["occurred_at"].to_pylist() == [datetime(2019, 12, 30)]


def test_one_column_may_mix_spellings(tmp_path: Path) -> None:
    spelled = ("2019-12-30", "2019-12-30T01:30:00+01:30", "1577664000", "2019-12-30T00:00:00.1234567", "")
    rows = "".join(f"{user},7,{text}\n" for user, text in enumerate(spelled))
    write(tmp_path, interactions=f"user_id,item_id,occurred_at\n{rows}", items=ITEMS)
    midnight = datetime(2019, 12, 30)
    assert read(tmp_path).interactions["occurred_at"].to_pylist() == [
        *(midnight, midnight, midnight),
        datetime(2019, 12, 30, 0, 0, 0, 123456),
        None,
    ]


def test_milliseconds_are_read_when_asked_for_and_noticed_when_not(tmp_path: Path) -> None:
    write(tmp_path, interactions="user_id,item_id,occurred_at\n1,7,1577700000250\n", items=ITEMS)
    times = read(tmp_path, time_unit="ms").interactions["occurred_at"]
    assert times.to_pylist() == [datetime(2019, 12, 30, 10, 0, 0, 250000)]
    with pytest.raises(DataError, match=r"row 1: column occurred_at is in ms, not in s .*--set source.time_unit=ms"):
        read(tmp_path)


def test_seconds_are_noticed_where_microseconds_were_promised(tmp_path: Path) -> None:
    write(tmp_path, interactions="user_id,item_id,occurred_at\n1,7,1577700000\n", items=ITEMS)
    with pytest.raises(DataError, match=r"is in s, not in us .*--set source.time_unit=s"):
        read(tmp_path, time_unit="us")


def test_a_time_column_of_another_name_is_not_overlooked(tmp_path: Path) -> None:
    write(tmp_path, interactions="user_id,item_id,timestamp\n1,7,1577700000\n", items=ITEMS)
    with pytest.raises(DataError, match="no column occurred_at; rename column timestamp"):
        read(tmp_path)


def test_dated_partitions_are_read_in_order_of_their_dates(tmp_path: Path) -> None:
    for day in (31, 9, 30):
        folder = tmp_path / "interactions" / f"day=2019-12-{day}"
        folder.mkdir(parents=True)
        times = pa.array([datetime(2019, 12, day)])
        table = pa.table({"user_id": [str(day)], "item_id": ["7"], "occurred_at": times})
        pq.write_table(table, folder / "part-0.parquet")
        (folder / "_SUCCESS").touch()
        (folder / ".part-0.parquet.crc").write_bytes(b"crc")
    (tmp_path / "interactions" / "_temporary").mkdir()
    (tmp_path / "interactions" / "_temporary" / "part-1.parquet").write_bytes(b"half")
    tables = read(write(tmp_path, items=ITEMS))
    assert tables.interactions["user_id"].to_pylist() == ["9", "30", "31"]
    assert [Path(entry.name).parent.name for entry in tables.inputs[:3]] == [
        "day=2019-12-9",
        "day=2019-12-30",
        "day=2019-12-31",
    ]


def test_keys_of_hive_folders_are_columns(tmp_path: Path) -> None:
    for country in ("DE", "FR"):
        (tmp_path / "users" / f"country={country}").mkdir(parents=True)
        pq.write_table(pa.table({"user_id": [country.lower()]}), tmp_path / f"users/country={country}/0.parquet")
    tables = read(write(tmp_path, interactions=EVENTS, items=ITEMS))
    assert tables.users.to_pylist() == [{"user_id": "de", "country": "DE"}, {"user_id": "fr", "country": "FR"}]


def test_pieces_beside_each_other_are_one_table(tmp_path: Path) -> None:
    for number in (10, 9):
        table = pa.table({"user_id": [number] if number == 9 else [str(number)], "item_id": ["7"]})
        pq.write_table(table, tmp_path / f"interactions-{number}.parquet")
    tables = read(write(tmp_path, items=ITEMS))
    assert tables.interactions["user_id"].to_pylist() == ["9", "10"]


def test_a_relative_folder_is_meant_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, interactions=EVENTS, items=ITEMS)
    monkeypatch.chdir(tmp_path)
    tables = sources.read(Source(uri="files:."), before=date(2020, 1, 1), today=date(2026, 1, 1))
    assert [entry.name for entry in tables.inputs] == ["interactions.csv", "items.csv"]


def test_the_same_table_in_two_forms_is_refused(tmp_path: Path) -> None:
    write(tmp_path, interactions=EVENTS, items=ITEMS)
    write(tmp_path, items=pa.table({"item_id": ["7"], "title": ["x"]}))
    with pytest.raises(DataError, match=r"items is there twice: .*items\.csv and .*items\.parquet; keep one form"):
        read(tmp_path)


def test_what_was_looked_for_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no such folder") as missing:
        read(tmp_path / "nowhere")
    assert missing.value.exit_code == 66
    write(tmp_path, interactions=EVENTS)
    with pytest.raises(InputMissing, match=r"no items: looked for items\.parquet, items\.csv, items-\*\.parquet"):
        read(tmp_path)


def test_a_missing_column_names_the_nearest_one(tmp_path: Path) -> None:
    write(tmp_path, interactions="user,item_id\n1,7\n", items=ITEMS)
    with pytest.raises(DataError, match=r"interactions\.csv: no column user_id; rename column user"):
        read(tmp_path)
    write(tmp_path, interactions=EVENTS, items="item_id,blurb\n7,x\n")
    with pytest.raises(DataError, match=r"items\.csv: no column title; it has item_id, blurb; add the column"):
        read(tmp_path)


def test_a_line_that_cannot_be_parsed_is_named(tmp_path: Path) -> None:
    write(tmp_path, interactions="user_id,item_id\n1,7\n2,7,oops\n3,7\n", items=ITEMS)
    with pytest.raises(DataError, match=r"interactions\.csv row 2: expected 2 values, got 3; correct or remove"):
        read(tmp_path)


def test_other_encodings_and_empty_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, interactions=EVENTS, items=ITEMS)
    (tmp_path / "items.csv").write_bytes(ITEMS.encode("latin-1"))
    with pytest.raises(DataError, match=r"items\.csv row 1: not UTF-8; .*iconv"):
        read(tmp_path)
    (tmp_path / "items.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"items\.csv: empty file, expected a header"):
        read(tmp_path)


def test_a_byte_order_mark_and_quotes_are_no_part_of_the_data(tmp_path: Path) -> None:
    items = '\ufeff"item_id","title"\r\n"7","A, ""B""\nand C"\r\n'
    (tmp_path / "items.csv").write_bytes(items.encode())
    tables = read(write(tmp_path, interactions="user_id,item_id\n1,7\n"))
    assert tables.items["title"].to_pylist() == ['A, "B"\nand C']


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    write(tmp_path, interactions=EVENTS)
    (tmp_path / "items.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(DataError, match=r"items\.parquet: not a readable Parquet file"):
        read(tmp_path)


def test_files_that_disagree_about_a_type_are_refused(tmp_path: Path) -> None:
    write(tmp_path, interactions=EVENTS)
    pq.write_table(pa.table({"item_id": ["7"], "title": ["x"], "year": [1999]}), tmp_path / "items-1.parquet")
    pq.write_table(pa.table({"item_id": ["8"], "title": ["y"], "year": ["x"]}), tmp_path / "items-2.parquet")
    with pytest.raises(DataError, match=r"items: the files .*items-1.* disagree: .*give the column one type"):
        read(tmp_path)


def test_columns_may_not_take_names_of_our_own(tmp_path: Path) -> None:
    write(tmp_path, interactions=EVENTS, items=ITEMS, users="user_id,status\n2,gold\n")
    with pytest.raises(DataError, match="column status is a name of recbatch's own users; rename the column"):
        read(tmp_path)


def test_words_that_name_no_source_get_the_forms_and_a_near_match() -> None:
    with pytest.raises(
        UsageError, match=r"did you mean movielens/100k\? use one of movielens/100k, .*files:DIR"
    ) as off:
        sources.read(Source(uri="movielens/10k"), before=date(2020, 1, 1), today=date(2020, 1, 1))
    assert off.value.exit_code == 2
    for uri in ("", "files:", "recbole:", "sample:", "movielens/", "s3://bucket"):
        with pytest.raises(UsageError, match="use one of"):
            sources.read(Source(uri=uri), before=date(2020, 1, 1), today=date(2020, 1, 1))


def test_parquet_text_must_be_utf8(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")
    broken = pa.Array.from_buffers(pa.string(), 1, [None, offsets, data])
    write(tmp_path, interactions=pa.table({"user_id": broken, "item_id": ["7"]}), items=ITEMS)
    with pytest.raises(DataError, match=r"interactions\.parquet: not a readable Parquet file .*UTF8"):
        read(tmp_path)
