# ruff: noqa: DTZ001 (tables hold UTC without a zone)
"""The rules every source obeys: what is rejected, what is repaired, what stops the night."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recbatch import schemas
from recbatch.config import Source
from recbatch.contracts import SourceTables
from recbatch.errors import DataError
from recbatch.sources import ledger
from recbatch.sources.clean import clean
from recbatch.sources.parts import Part, RawTables

TODAY = date(2020, 6, 1)


def part(name: str, **columns: object) -> Part:
    return Part(name, pa.table(columns))


ITEMS = part("items.csv", item_id=["a", "b", "c"], title=["A", "B", "C"])


def run(
    events: Part | list[Part],
    items: Part = ITEMS,
    users: Part | None = None,
    share: float = 1.0,
    before: date = date(2020, 1, 1),
) -> SourceTables:
    parts = tuple(events) if isinstance(events, list) else (events,)
    raw = RawTables(parts, (items,), (users,) if users else (), (), merge_by_title=False)
    return clean(raw, Source(max_quarantined_share=share), before=before, today=TODAY)


def faults(tables: SourceTables) -> list[tuple[str, int, str]]:
    return [(row["file"], row["row"], row["reason"]) for row in tables.quarantine.to_pylist()]


def test_rows_without_a_usable_id_are_rejected() -> None:
    events = part("e", user_id=["u", None, "", " \t", "n\0l", "u"], item_id=["a", "a", "a", "a", "a", None])
    tables = run(events)
    assert faults(tables) == [
        ("e", 2, "null_id"),
        ("e", 3, "empty_id"),
        ("e", 4, "empty_id"),
        ("e", 5, "nul_in_id"),
        ("e", 6, "null_id"),
    ]
    assert tables.interactions["user_id"].to_pylist() == ["u"]
    counts = {"items": 3, "interactions": 6, "null_id": 2, "empty_id": 2, "nul_in_id": 1, "after_run_date": 0}
    assert tables.counts == counts


def test_the_content_of_a_rejected_row_is_kept_as_json() -> None:
    rating = pa.array([1.0, float("nan")])
    tables = run(part("e", user_id=["u", "ü"], item_id=["a", "b"], rating=rating))
    assert tables.quarantine.schema.equals(schemas.arrow(schemas.QUARANTINE))
    content = tables.quarantine["content"].to_pylist()
    assert content == ['{"user_id": "ü", "item_id": "b", "rating": "nan"}']
    assert json.loads(content[0])["user_id"] == "ü"


def test_times_that_are_none_or_cannot_be() -> None:
    times = ["2019-12-31", "yesterday", "2019-02-30", "2019-13-01", "1899-12-31", "2020-06-03", "2020-06-02T23:59:59"]
    times += ["2019-12-31T24:00:00", "2019-12-31T23:59:60", "9999-12-31", "1900-01-01", ""]
    tables = run(part("e", user_id=["u"] * 12, item_id=["a"] * 12, occurred_at=times))
    assert faults(tables) == [
        ("e", 2, "bad_timestamp"),
        ("e", 3, "bad_timestamp"),
        ("e", 4, "bad_timestamp"),
        ("e", 5, "impossible_timestamp"),
        ("e", 6, "impossible_timestamp"),
        ("e", 8, "bad_timestamp"),
        ("e", 9, "bad_timestamp"),
        ("e", 10, "impossible_timestamp"),
    ]
    assert tables.interactions["occurred_at"].to_pylist() == [datetime(2019, 12, 31), datetime(1900, 1, 1), None]
    assert tables.counts["after_run_date"] == 1


def test_numbers_as_times_may_be_neither_infinite_nor_absurd() -> None:
    times = pa.array([1577700000.5, float("inf"), float("nan"), -1e300, 1577700000.0])
    tables = run(part("e", user_id=["u"] * 5, item_id=["a"] * 5, occurred_at=times))
    assert faults(tables) == [("e", 2, "bad_timestamp"), ("e", 3, "bad_timestamp"), ("e", 4, "impossible_timestamp")]
    assert tables.interactions["occurred_at"].to_pylist()[0] == datetime(2019, 12, 30, 10, 0, 0, 500000)


def test_absurd_timestamps_do_not_overflow() -> None:
    times = pa.array([2**62, 1577700000, -(2**62)], pa.timestamp("s"))
    tables = run(part("e", user_id=["u"] * 3, item_id=["a"] * 3, occurred_at=times))
    assert faults(tables) == [("e", 1, "impossible_timestamp"), ("e", 3, "impossible_timestamp")]


def test_ratings_and_weights_must_be_finite_and_weights_not_negative() -> None:
    rating = pa.array(["4.5", "-2", "five", "inf", "1e999", "", "+3", " 5 "])
    weight = pa.array([1.0, -0.5, 1, 1, 1, None, float("inf"), 0])
    tables = run(part("e", user_id=list("12345678"), item_id=["a"] * 8, rating=rating, weight=weight))
    assert faults(tables) == [
        ("e", 2, "bad_weight"),
        ("e", 3, "bad_rating"),
        ("e", 4, "bad_rating"),
        ("e", 5, "bad_rating"),
        ("e", 7, "bad_weight"),
    ]
    assert tables.interactions["rating"].to_pylist() == [4.5, None, 5.0]
    assert tables.interactions["weight"].to_pylist() == [1.0, None, 0.0]


def test_columns_of_a_wrong_type_are_named() -> None:
    with pytest.raises(DataError, match="e row 1: column rating is bool, expected a number"):
        run(part("e", user_id=["u"], item_id=["a"], rating=[True]))
    with pytest.raises(DataError, match="e row 1: column occurred_at is bool, expected a timestamp"):
        run(part("e", user_id=["u"], item_id=["a"], occurred_at=[True]))
    with pytest.raises(DataError, match=r"items: column title is list<.*expected text"):
        run(part("e", user_id=["u"], item_id=["a"]), part("items", item_id=["a"], title=[["A"]]))
    with pytest.raises(DataError, match="items: column genres is int64, expected a list of text"):
        run(part("e", user_id=["u"], item_id=["a"]), part("items", item_id=["a"], title=["A"], genres=[1]))


def test_a_column_that_stands_there_twice_is_refused() -> None:
    doubled = Part("e", pa.table([["u"], ["a"], ["b"]], names=["user_id", "item_id", "item_id"]))
    with pytest.raises(DataError, match="e: column item_id stands there 2 times"):
        run(doubled)


def test_events_on_unknown_items_are_rejected() -> None:
    tables = run(part("e", user_id=["u", "v"], item_id=["zz", "a"]))
    assert faults(tables) == [("e", 1, "unknown_item")]
    assert tables.interactions["item_id"].to_pylist() == ["a"]


def test_of_equal_events_the_first_stays() -> None:
    day, night = datetime(2019, 12, 1), datetime(2019, 12, 1, 22)
    first = part(
        "one",
        user_id=["u", "u", "u", "u", "v"],
        item_id=["a", "a", "a", "b", "a"],
        occurred_at=pa.array([day, day, night, day, day]),
        rating=[1.0, 2.0, 1.0, 1.0, 1.0],
    )
    second = part("two", user_id=["u", "u"], item_id=["a", "a"], occurred_at=[day, day], rating=[1.0, None])
    tables = run([first, second], share=0)
    assert faults(tables) == [("two", 1, "duplicate_event")]
    assert tables.counts["duplicate_event"] == 1
    assert tables.interactions.num_rows == 6


def test_events_without_a_time_are_never_duplicates() -> None:
    assert run(part("e", user_id=["u", "u"], item_id=["a", "a"])).interactions.num_rows == 2


def test_events_of_the_run_date_and_later_are_cut_and_counted_after_the_checks() -> None:
    times = ["2019-12-31T23:59:59.999999", "2020-01-01", "2020-02-01", "2020-02-01", "2020-07-01"]
    tables = run(part("e", user_id=["u"] * 5, item_id=["a"] * 5, occurred_at=times))
    assert tables.interactions["occurred_at"].to_pylist() == [datetime(2019, 12, 31, 23, 59, 59, 999999)]
    assert tables.counts["after_run_date"] == 2
    assert faults(tables) == [("e", 4, "duplicate_event"), ("e", 5, "impossible_timestamp")]


def test_items_are_listed_once_and_have_a_title() -> None:
    items = part(
        "i", item_id=["a", "b", "a", None, "c"], title=["A", None, "A again", "nothing", "  "], year=[1, 2, 3, 4, 5]
    )
    tables = run(part("e", user_id=["u"], item_id=["a"]), items)
    assert tables.items.to_pylist() == [
        {"item_id": "a", "title": "A", "genres": None, "year": 1},
        {"item_id": "b", "title": "b", "genres": None, "year": 2},
        {"item_id": "c", "title": "c", "genres": None, "year": 5},
    ]
    assert faults(tables) == [
        ("i", 2, "missing_title"),
        ("i", 3, "duplicate_item"),
        ("i", 4, "null_id"),
        ("i", 5, "missing_title"),
    ]


def test_users_are_listed_once_and_keep_their_columns() -> None:
    users = part("p", user_id=["u", "", "u", "w"], gender=["F", "M", "M", None])
    tables = run(part("e", user_id=["z"], item_id=["a"]), users=users)
    assert tables.users.to_pylist() == [{"user_id": "u", "gender": "F"}, {"user_id": "w", "gender": None}]
    assert faults(tables) == [("p", 2, "empty_id"), ("p", 3, "duplicate_user")]


def test_too_many_rejected_rows_stop_the_night() -> None:
    events = [
        part("one", user_id=["u"] * 98, item_id=["a"] * 97 + ["zz"]),
        part("two", user_id=[None, "u"], item_id=["a", "zz"]),
    ]
    with pytest.raises(DataError) as stopped:
        run(events, share=0.02)
    assert str(stopped.value) == (
        "interactions: 3 of 100 rows rejected (3.0%, at most 2.0% allowed), most often unknown_item (2), first one row"
        " 98; correct the input or raise source.max_quarantined_share"
    )
    assert stopped.value.exit_code == 65
    assert run(events, share=0.03).interactions.num_rows == 97


def test_repaired_rows_do_not_count_as_rejected() -> None:
    items = part("i", item_id=["a", "a", "b"], title=["A", "A", None])
    day = datetime(2019, 12, 1)
    tables = run(part("e", user_id=["u"] * 3, item_id=["a"] * 3, occurred_at=[day] * 3), items, share=0)
    assert tables.counts["duplicate_event"] == 2
    assert tables.interactions.num_rows == 1


def test_nothing_left_is_an_error() -> None:
    late = part("e", user_id=["u"], item_id=["a"], occurred_at=["2020-03-01"])
    with pytest.raises(DataError, match="no usable event before 2020-01-01: 1 read, 1 of them on or after that date"):
        run(late)
    empty = part("e", user_id=pa.array([], pa.string()), item_id=pa.array([], pa.string()))
    with pytest.raises(DataError, match="no usable event before 2020-01-01: 0 read"):
        run(empty)
    with pytest.raises(DataError, match="i: no usable item among 1 rows"):
        run(late, part("i", item_id=[""], title=["A"]))


def test_a_flood_of_faults_is_counted_whole_and_stored_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_STORED", 3)
    events = [part(name, user_id=["u"] * 4, item_id=["zz", "zz", "a", "a"]) for name in ("one", "two")]
    tables = run(events)
    assert tables.counts["unknown_item"] == 4
    assert faults(tables) == [("one", 1, "unknown_item"), ("one", 2, "unknown_item"), ("two", 1, "unknown_item")]


def test_a_row_with_several_faults_is_entered_once() -> None:
    tables = run(part("e", user_id=[None, "u"], item_id=["zz", "a"], rating=["x", "1"]))
    assert faults(tables) == [("e", 1, "null_id")]


def test_colliding_digests_are_settled_by_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recbatch.sources.events._digest", lambda keys, rows: np.zeros(rows, np.uint64))
    times = [datetime(2019, 12, day) for day in (1, 2, 1, 3, 2)]
    tables = run(part("e", user_id=["u"] * 5, item_id=["a"] * 5, occurred_at=times))
    assert faults(tables) == [("e", 3, "duplicate_event"), ("e", 5, "duplicate_event")]


def test_inputs_are_not_changed(tmp_path: Path) -> None:
    events = part("e", user_id=["u", None], item_id=["a", "a"], occurred_at=["2019-12-01", "x"])
    before = events.table.to_pylist()
    run(events)
    assert events.table.to_pylist() == before
