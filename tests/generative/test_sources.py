# ruff: noqa: DTZ001 (tables hold UTC without a zone)
"""Sources under random input: what goes in comes out, and every row is kept, rejected, repaired or cut."""

from __future__ import annotations

import csv
import io
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from recbatch import sources
from recbatch.config import Source
from recbatch.contracts import SourceTables
from recbatch.errors import RecbatchError
from recbatch.sources.clean import clean
from recbatch.sources.parts import Part, RawTables
from recbatch.sources.times import PER_SECOND, read_times
from tests.unit._worlds import plain

from ._examples import examples

TODAY = date(2030, 1, 1)
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
ids = text.filter(lambda word: word.strip() != "")
moments = st.datetimes(datetime(1900, 1, 1), datetime(2029, 12, 31))


def read(folder: Path) -> SourceTables:
    source = Source(uri=f"files:{folder}", max_quarantined_share=1.0)
    return sources.read(source, before=TODAY, today=TODAY)


def as_csv(header: list[str], rows: list[list[str]]) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    return stream.getvalue().encode()


@examples()
@given(st.lists(ids, min_size=1, max_size=5, unique=True), st.lists(ids, min_size=1, max_size=5))
def test_ids_and_titles_survive_csv_and_parquet(items: list[str], users: list[str]) -> None:
    events = [[user, items[at % len(items)]] for at, user in enumerate(users)]
    catalogue = [[item, f"Title of {item}"] for item in items]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "interactions.csv").write_bytes(as_csv(["user_id", "item_id"], events))
        (folder / "items.csv").write_bytes(as_csv(["item_id", "title"], catalogue))
        from_csv = read(folder)
        for table, header, rows in (
            ("interactions", ["user_id", "item_id"], events),
            ("items", ["item_id", "title"], catalogue),
        ):
            (folder / f"{table}.csv").unlink()
            columns = [pa.array(column) for column in zip(*rows, strict=True)]
            pq.write_table(pa.table(columns, names=header), folder / f"{table}.parquet")
        from_parquet = read(folder)
    for tables in (from_csv, from_parquet):
        assert tables.interactions.select(["user_id", "item_id"]).to_pylist() == [
            {"user_id": user, "item_id": item} for user, item in events
        ]
        assert tables.items.select(["item_id", "title"]).to_pylist() == [
            {"item_id": item, "title": title} for item, title in catalogue
        ]


@examples()
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5, unique=True))
def test_integer_ids_become_their_digits(items: list[int]) -> None:
    events = Part("e", pa.table({"user_id": items, "item_id": items}))
    raw = RawTables((events,), (Part("i", pa.table({"item_id": items, "title": ["t"] * len(items)})),), (), (), False)
    tables = clean(raw, Source(), before=TODAY, today=TODAY)
    assert tables.interactions["user_id"].to_pylist() == [str(item) for item in items]


@examples()
@given(st.lists(moments, min_size=1, max_size=6), st.sampled_from(["s", "ms", "us", "ns"]))
def test_every_spelling_of_a_time_means_the_same(times: list[datetime], unit: str) -> None:
    step = max(1, 1_000_000 // PER_SECOND[unit])
    times = [moment.replace(microsecond=moment.microsecond // step * step) for moment in times]
    zoned = [f"{moment + timedelta(hours=5, minutes=30):%Y-%m-%dT%H:%M:%S.%f}+05:30".zfill(32) for moment in times]
    spellings = [
        pa.array(times, pa.timestamp(unit)),
        pa.array(times, pa.timestamp(unit)).cast(pa.timestamp(unit, "Asia/Tokyo")),
        pa.array([moment.isoformat() for moment in times]),
        pa.array(zoned),
        pa.array([zoned[0], *(moment.isoformat(" ") for moment in times[1:])]),
    ]
    for column in spellings:
        read_back = read_times(Part("e", pa.table({"t": column})), "t", "s", TODAY)
        assert not (read_back.missing | read_back.bad | read_back.impossible).any()
        assert [datetime(1970, 1, 1) + timedelta(microseconds=int(at)) for at in read_back.micros] == times


rows = st.fixed_dictionaries(
    {
        "user_id": st.sampled_from(["u", "v", "", None, "n\0l"]),
        "item_id": st.sampled_from(["a", "b", "zz", None]),
        "occurred_at": st.sampled_from(["2029-01-01", "2029-01-02", "2030-01-01", "2031-01-01", "soon", None]),
        "rating": st.sampled_from([1.0, 2.0, float("nan"), None]),
        "weight": st.sampled_from([1.0, -1.0, None]),
    }
)


def oracle(row: dict[str, Any], before: set[tuple[Any, ...]]) -> str:
    """What happens to a row, in plain Python."""
    if row["user_id"] is None or row["item_id"] is None:
        return "null_id"
    key = tuple(row[name] for name in ("user_id", "item_id", "occurred_at", "rating", "weight"))
    for found, reason in (
        (row["user_id"] == "", "empty_id"),
        ("\0" in row["user_id"], "nul_in_id"),
        (row["occurred_at"] == "soon", "bad_timestamp"),
        (row["occurred_at"] == "2031-01-01", "impossible_timestamp"),
        (row["rating"] is not None and row["rating"] != row["rating"], "bad_rating"),
        (row["weight"] == -1.0, "bad_weight"),
        (row["item_id"] == "zz", "unknown_item"),
        (row["occurred_at"] is not None and key in before, "duplicate_event"),
    ):
        if found:
            return reason
    before.add(key)
    return "after_run_date" if row["occurred_at"] == "2030-01-01" else "kept"


@examples(200)
@given(st.lists(rows, min_size=1, max_size=30), st.integers(1, 30))
def test_every_row_has_one_fate(events: list[dict[str, Any]], cut: int) -> None:
    schema = pa.schema({"user_id": "string", "item_id": "string", "occurred_at": "string"})
    schema = schema.append(pa.field("rating", pa.float64())).append(pa.field("weight", pa.float64()))
    parts = tuple(
        Part(name, pa.Table.from_pylist(piece, schema=schema))
        for name, piece in (("one", events[:cut]), ("two", events[cut:]))
    )
    raw = RawTables(parts, (Part("i", pa.table({"item_id": ["a", "b"], "title": ["A", "B"]})),), (), (), False)
    settings_ = Source(max_quarantined_share=1.0)
    before: set[tuple[Any, ...]] = set()
    fates = [oracle(row, before) for row in events]
    if "kept" not in fates:
        try:
            clean(raw, settings_, before=TODAY, today=TODAY)
        except RecbatchError as error:
            assert "no usable event" in str(error)
            return
        raise AssertionError("an empty table is no table")
    tables = clean(raw, settings_, before=TODAY, today=TODAY)
    expected = {fate: fates.count(fate) for fate in fates if fate not in ("kept", "after_run_date")}
    found = {reason: count for reason, count in tables.counts.items() if reason not in ("items", "interactions")}
    assert found == {**expected, "after_run_date": fates.count("after_run_date")}
    assert tables.interactions.num_rows == fates.count("kept")
    assert [row["user_id"] for row in tables.interactions.to_pylist()] == [
        row["user_id"] for row, fate in zip(events, fates, strict=True) if fate == "kept"
    ]
    places = [
        (name, row + 1) for name, rows_ in (("one", events[:cut]), ("two", events[cut:])) for row in range(len(rows_))
    ]
    wanted = [(*place, fate) for place, fate in zip(places, fates, strict=True) if fate in expected]
    assert [(row["file"], row["row"], row["reason"]) for row in tables.quarantine.to_pylist()] == wanted


@examples(150)
@given(
    st.binary(max_size=120), st.sampled_from(["interactions", "items", "users"]), st.sampled_from(["csv", "parquet"])
)
def test_whatever_a_file_holds_the_error_is_ours(content: bytes, table: str, suffix: str) -> None:
    good = {"interactions": b"user_id,item_id\nu,a\n", "items": b"item_id,title\na,A\n", "users": b"user_id\nu\n"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for other, fine in good.items():
            (folder / f"{other}.csv").write_bytes(fine)
        (folder / f"{table}.csv").unlink()
        (folder / f"{table}.{suffix}").write_bytes(good[table] + content if suffix == "csv" else content)
        try:
            read(folder)
        except RecbatchError as error:
            assert "\n" not in str(error)


@examples(25)
@given(
    st.dates(date(2019, 12, 2), date(2020, 6, 1)),
    st.dates(date(2019, 12, 2), date(2020, 6, 1)),
    st.integers(1, 60),
    st.integers(10, 60),
    st.integers(0, 5),
)
def test_worlds_are_nested_in_time(one: date, other: date, users: int, titles: int, seed: int) -> None:
    source = Source(uri=f"sample:users={users},titles={titles},seed={seed},events_per_day=20")
    first, last = (sources.read(source, before=day, today=TODAY) for day in sorted((one, other)))
    for table in ("interactions", "items", "users"):
        early, late = getattr(first, table), getattr(last, table)
        assert plain(late.slice(0, early.num_rows)).equals(plain(early))
    later = last.interactions["occurred_at"].slice(first.interactions.num_rows).to_pylist()
    assert all(moment.date() >= min(one, other) for moment in later)
