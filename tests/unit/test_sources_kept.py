"""Partitions that are parsed once: whatever is kept, a reading says what a reading of every file says."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from recbatch import publish, sources, store
from recbatch.config import Source
from recbatch.contracts import SourceTables
from recbatch.errors import DataError
from recbatch.store import Lake

TODAY = date(2024, 6, 1)
USERS = ["u1", "u2", "0003", "", " ", "alice", None]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    lake.create()
    return lake


def day_of(rng: np.random.Generator, day: int, rows: int, suffix: str) -> pa.Table:
    """Events of a day: good ones, blank and null ids, unknown titles, repeats, broken numbers."""
    hours = [f"2024-05-{day:02d}T{hour:02d}:00:00" for hour in rng.integers(0, 24, rows)]
    ratings = rng.choice(["1", "4.5", "", "many"] if suffix == "csv" else ["1", "4.5", None], rows)
    columns = {
        "user_id": pa.array(rng.choice(np.array(USERS, object), rows), pa.string()),
        "item_id": pa.array(rng.choice(["7", "0104257", "nowhere"], rows, p=[0.6, 0.3, 0.1])),
        "occurred_at": pa.array(hours),
        "rating": pa.array(ratings.astype(object), pa.string()),
        "channel": pa.array(["mail"] * rows).dictionary_encode(),
    }
    return pa.table(columns)


def write_day(folder: Path, rng: np.random.Generator, day: int, suffix: str, rows: int = 40) -> Path:
    path = folder / "interactions" / f"date=2024-05-{day:02d}" / f"part-0.{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    table = day_of(rng, day, rows, suffix)
    pyarrow.csv.write_csv(table, path) if suffix == "csv" else pq.write_table(table, path)
    return path


@pytest.fixture(params=["csv", "parquet"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path / "in"
    rng = np.random.default_rng(7)
    for day in (1, 2, 3):
        write_day(folder, rng, day, request.param)
    (folder / "items.csv").write_text("item_id,title\n7,Heat\n0104257,Ran\n")
    return folder


def read(folder: Path, kept: sources.Kept | None, today: date = TODAY, before: date = TODAY) -> SourceTables:
    source = Source(uri=f"files:{folder}", max_quarantined_share=1.0)
    return sources.read(source, before=before, today=today, kept=kept)


def reading(folder: Path, lake: Lake, forgotten: str = "", **how: date) -> set[str]:
    """Reads with what is kept and without, which must agree in everything; the names of the days that were parsed."""
    kept = sources.Kept(lake, frozenset({store.sha256_text(forgotten)} if forgotten else ()))
    ours, plain = read(folder, kept, **how), read(folder, None, **how)
    for name in ("interactions", "items", "users", "quarantine"):
        assert getattr(ours, name).equals(getattr(plain, name)), name
    assert (ours.inputs, ours.counts) == (plain.inputs, plain.counts)
    assert ours.counts["duplicate_event"] and ours.counts["unknown_item"] and ours.counts["empty_id"]
    assert list(lake.staging.iterdir()) == []
    return {path.parent.name.removeprefix("date=2024-05-") for path in kept.parsed}


def entries(lake: Lake) -> list[Path]:
    return sorted(lake.cache.iterdir())


def test_a_file_is_parsed_once_and_only_what_changed_is_parsed_again(folder: Path, lake: Lake) -> None:
    assert reading(folder, lake) == {"01", "02", "03"}
    assert reading(folder, lake) == set()
    assert reading(folder, lake, before=date(2024, 5, 2)) == set(), "the run date cuts later"
    suffix = next(folder.rglob("part-0.*")).suffix[1:]
    changed = write_day(folder, np.random.default_rng(8), 2, suffix)
    assert reading(folder, lake) == {"02"}
    assert len(entries(lake)) == 3, "what no file uses is gone"
    write_day(folder, np.random.default_rng(9), 4, suffix)
    assert reading(folder, lake) == {"04"}
    changed.unlink()
    assert reading(folder, lake) == set()
    assert len(entries(lake)) == 3


def test_a_file_under_another_date_is_another_file(folder: Path, lake: Lake) -> None:
    reading(folder, lake)
    days = folder / "interactions"
    (days / "date=2024-05-01").rename(days / "date=2024-05-09")
    assert reading(folder, lake) == {"09"}, "the folder's column stands in the quarantine"


@pytest.mark.parametrize("file", ["checked.arrow", "raw.arrow", store.MANIFEST])
def test_a_damaged_entry_is_never_used(folder: Path, lake: Lake, file: str) -> None:
    reading(folder, lake)
    for entry in entries(lake)[:2]:
        content = bytearray((entry / file).read_bytes())
        content[len(content) // 2] ^= 1
        (entry / file).write_bytes(content)
    assert len(reading(folder, lake)) == 2
    assert reading(folder, lake) == set()
    assert not any(store.faults(entry) for entry in entries(lake))


def test_times_of_the_future_are_judged_by_the_day_of_the_reading(folder: Path, lake: Lake) -> None:
    early = date(2024, 5, 1)  # 2024-05-03 is more than a day ahead
    assert reading(folder, lake, today=early, before=date(2024, 5, 3)) == {"01", "02", "03"}
    assert reading(folder, lake, today=early, before=date(2024, 5, 3)) == {"03"}
    assert reading(folder, lake) == {"03"}, "with the time come"
    assert reading(folder, lake) == set()
    reading(folder, lake, today=early, before=date(2024, 5, 3))  # kept when it was possible, impossible for this day


def test_what_names_a_forgotten_user_is_not_kept(folder: Path, lake: Lake) -> None:
    clean = folder / "interactions" / "date=2024-05-03"
    path = next(clean.iterdir())
    only = day_of(np.random.default_rng(1), 3, 6, path.suffix[1:])
    only = only.set_column(0, "user_id", pa.array(["u1"] * 6))
    pyarrow.csv.write_csv(only, path) if path.suffix == ".csv" else pq.write_table(only, path)
    assert reading(folder, lake, forgotten="alice") == {"01", "02", "03"}
    assert len(entries(lake)) == 1
    assert reading(folder, lake, forgotten="alice") == {"01", "02"}


def test_files_of_the_same_bytes_share_an_entry(folder: Path, lake: Lake) -> None:
    path = next(folder.rglob("part-0.*"))
    for copy in ("part-1", "part-2"):
        shutil.copyfile(path, path.with_name(copy + path.suffix))
    assert reading(folder, lake) == {"01", "02", "03"}
    assert len(entries(lake)) == 3
    assert reading(folder, lake) == set()


def test_one_file_alone_is_not_kept(folder: Path, lake: Lake) -> None:
    for day in ("02", "03"):
        shutil.rmtree(folder / "interactions" / f"date=2024-05-{day}")
    kept = sources.Kept(lake, frozenset())
    read(folder, kept)
    assert not lake.cache.exists()


def test_a_faulty_table_is_told_by_the_same_line(folder: Path, lake: Lake) -> None:
    reading(folder, lake)
    lines = []
    for kept in (sources.Kept(lake, frozenset()), None):
        with pytest.raises(DataError) as told:
            sources.read(Source(uri=f"files:{folder}"), before=TODAY, today=TODAY, kept=kept)
        lines.append(str(told.value))
    assert lines[0] == lines[1]


def test_gc_knows_what_the_newest_run_has_read(folder: Path, lake: Lake) -> None:
    reading(folder, lake)
    digests = [store.read_checked_json(entry / store.MANIFEST)["file_sha256"] for entry in entries(lake)]
    latest = {"inputs": [{"sha256": digest} for digest in digests[1:]]}
    assert publish.unused_input(lake, latest) == entries(lake)[:1]
    assert publish.unused_input(lake, None) == entries(lake)


@pytest.mark.parametrize("before", [date(2024, 5, 2), date(2024, 5, 3), TODAY])
def test_a_reading_for_a_later_date_is_cut_to_one_for_an_earlier(folder: Path, before: date) -> None:
    late, alone = read(folder, None), read(folder, None, before=before)
    assert sources.earlier(late, before) == alone
    assert alone.interactions.num_rows < late.interactions.num_rows or before == TODAY
    with pytest.raises(DataError, match=f"before {date(2024, 5, 1)}: 120 read, {late.interactions.num_rows} of them"):
        sources.earlier(late, date(2024, 5, 1))
