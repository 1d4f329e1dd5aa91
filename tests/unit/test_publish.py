"""Tables on disk, run ids, and what readers without DuckDB are told."""

import errno
import subprocess
import sys
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbatch import _threads, publish, schemas, store, withdrawn
from recbatch.config import Gc
from recbatch.contracts import AuditResult
from recbatch.publish import _dictionaries
from recbatch.publish import tables as _tables
from recbatch.store import Lake

ROW = {"segment": "all", "rank": 1, "item_id": "1", "title": "x", "score": 1.0}


def rows(count):
    return pa.Table.from_pylist([ROW | {"rank": n + 1} for n in range(count)], schema=schemas.arrow(schemas.POPULAR))


def test_rows_come_back_in_order_in_small_groups_with_page_checksums(tmp_path):
    with publish.TableWriter(tmp_path, schemas.POPULAR) as writer:
        for start in range(0, 30_000, 7_000):
            writer.write(rows(30_000).slice(start, 7_000))
    (path,) = (tmp_path / "popular").iterdir()
    assert writer.rows == 30_000
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [20_000, 10_000]
    back = pq.read_table(path, page_checksum_verification=True)
    assert back.equals(rows(30_000))
    ranks = metadata.row_group(1).column(1)
    place = ranks.dictionary_page_offset + ranks.total_compressed_size - 5
    content = path.read_bytes()
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, page_checksum_verification=True)


@pytest.mark.parametrize("names", [100, 3_000_000])
def test_text_given_as_positions_comes_back_as_text_with_the_names_of_each_group_only(tmp_path, names):
    random_ = np.random.default_rng(names)
    titles = pa.array(np.arange(names)).cast(pa.string())
    missing = random_.random(30_000) < 0.1
    places = pa.array(random_.integers(names, size=30_000).astype(np.int32), mask=missing)
    firm = pa.array(places.fill_null(0).to_numpy())
    columns = {
        "rank": firm.cast(pa.int16(), safe=False),
        "item_id": pa.DictionaryArray.from_arrays(firm, titles),
        "title": pa.DictionaryArray.from_arrays(firm, titles.slice(0)),
        "reason": pa.DictionaryArray.from_arrays(places, titles),
    }
    table = schemas.Table("named", "test", tuple(schemas.Column(name, "string", "", True) for name in columns))
    given = pa.table(columns)
    with publish.TableWriter(tmp_path, table) as writer:
        writer.write(given.slice(0, 0))
        writer.write(given.slice(0, 13))
        writer.write(given.slice(13))
        # Other names in the same place: the last group of the file holds both.
        other = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int32()), pa.array(["else"]))
        writer.write(
            pa.table({"rank": pa.array([1, 2], pa.int16()), "item_id": other, "title": other, "reason": other})
        )
    (path,) = (tmp_path / "named").iterdir()
    back = pq.read_table(path)
    assert back["item_id"].to_pylist() == [*given["item_id"].cast(pa.string()).to_pylist(), "else", "else"]
    assert back["reason"].to_pylist() == [*given["reason"].cast(pa.string()).to_pylist(), "else", "else"]
    assert back["title"].equals(back["item_id"])
    groups = pq.ParquetFile(path, read_dictionary=["item_id"])
    for number in range(2):
        chunk = groups.read_row_group(number, ["item_id"])["item_id"].chunks[0]
        assert len(chunk.dictionary) == len(chunk.unique())


def test_an_empty_table_still_has_its_columns(tmp_path):
    assert publish.write_table(tmp_path, schemas.POPULAR, rows(0)) == 0
    assert pq.read_schema(tmp_path / "popular" / "part-00000.parquet").names == list(schemas.POPULAR.column_names)


def test_a_table_that_nobody_writes_to_is_one_empty_file(tmp_path):
    with publish.TableWriter(tmp_path, schemas.POPULAR) as writer:
        writer.next_file()
        writer.next_file()
    (path,) = (tmp_path / "popular").iterdir()
    assert (writer.rows, pq.read_table(path).num_rows) == (0, 0)
    assert pq.read_schema(path).names == list(schemas.POPULAR.column_names)


def test_each_shard_is_a_file(tmp_path):
    with publish.TableWriter(tmp_path, schemas.POPULAR) as writer:
        for _ in range(3):
            writer.write(rows(10))
            writer.next_file()
    assert sorted(path.name for path in (tmp_path / "popular").iterdir()) == [f"part-0000{n}.parquet" for n in range(3)]


def test_columns_off_the_contract_are_a_bug(tmp_path):
    with pytest.raises(AssertionError, match="not those of the contract"):
        publish.write_table(tmp_path, schemas.POPULAR, pa.table({"rank": [1]}))


def test_a_run_id_is_never_given_twice(tmp_path):
    lake = Lake(tmp_path)
    lake.create()
    day = date(2024, 1, 1)
    assert publish.next_run_id(lake, day) == "2024-01-01.1"
    (lake.runs / "2024-01-01.1").mkdir()
    (lake.blocked / "2024-01-01.2").mkdir()
    (lake.runs / "2024-01-02.7").mkdir()
    assert publish.next_run_id(lake, day) == "2024-01-01.3"


def test_the_newest_three_blocked_runs_are_kept(tmp_path):
    lake = Lake(tmp_path)
    lake.create()
    for number in (1, 2, 10, 11):
        publish.block(lake, publish.stage(lake, f"2024-01-01.{number}"))
    assert sorted(path.name for path in lake.blocked.iterdir()) == ["2024-01-01.10", "2024-01-01.11", "2024-01-01.2"]
    assert list(lake.staging.iterdir()) == []


def test_latest_json_names_every_file_of_the_run_and_is_left_alone_when_right(tmp_path):
    lake = Lake(tmp_path)
    lake.create()
    folder = publish.stage(lake, "2024-01-01.1")
    counts = {
        table.name: publish.write_table(folder, table, schemas.arrow(table).empty_table())
        for table in schemas.RUN_TABLES
    }
    store.seal(folder, {"run_id": "2024-01-01.1", "run_date": "2024-01-01", "k": 10, "rows": counts})
    publish.promote(lake, folder)
    publish.write_latest(lake, "2024-01-01.1")
    latest = store.read_checked_json(lake.latest)
    for table in schemas.RUN_TABLES:
        (file,) = latest["tables"][table.name]["files"]
        assert store.sha256_file(tmp_path / file["path"]) == file["sha256"]
    written = lake.latest.stat().st_mtime_ns
    publish.write_latest(lake, "2024-01-01.1")
    assert lake.latest.stat().st_mtime_ns == written
    lake.latest.write_text("{")
    publish.write_latest(lake, "2024-01-01.1")
    assert store.read_checked_json(lake.latest) == latest
    assert publish.orphans(lake, []) == ["2024-01-01.1"]
    assert publish.orphans(lake, ["2024-01-01.1"]) == []


def finished(**days):
    """Run id → a manifest finished on that day of January at noon."""
    return {f"2024-01-{name[1:]}.1": {"finished_at": f"2024-01-{day:02d}T12:00:00+00:00"} for name, day in days.items()}


def test_a_run_is_superseded_when_the_next_above_it_is_finished():
    runs = finished(d03=3, d04=4, d05=10)
    assert publish.superseded(runs) == {
        "2024-01-03.1": datetime(2024, 1, 4, 12, tzinfo=UTC),
        "2024-01-04.1": datetime(2024, 1, 10, 12, tzinfo=UTC),
    }
    backfilled = finished(d03=20, d04=4)
    assert publish.superseded(backfilled) == {"2024-01-03.1": datetime(2024, 1, 20, 12, tzinfo=UTC)}


def test_a_run_is_collectable_beyond_both_limits_only(tmp_path):
    lake = Lake(tmp_path)
    lake.create()
    runs = finished(d01=1, d02=2, d03=3, d04=4)

    def old(day, **settings):
        return publish.collectable(lake, runs, Gc(**settings), datetime(2024, 1, day, 13, tzinfo=UTC))

    assert old(31) == []
    assert old(31, keep_runs=3) == ["2024-01-01.1"]
    assert old(9, keep_runs=2) == ["2024-01-01.1"], "superseded on the 2nd, and not 7 days before the 9th at 13:00"
    assert old(8, keep_runs=2) == []
    assert old(31, keep_runs=1, keep_days=0) == ["2024-01-01.1", "2024-01-02.1", "2024-01-03.1"]
    (lake.runs / "2024-01-05.1").mkdir()
    publish.retire(lake, {"2024-01-05.1": {"reason": "rolled_back", "at": "2024-01-06T00:00:00+00:00", "to": "x"}})
    assert old(31, keep_runs=1, keep_days=0)[-1] == "2024-01-03.1", "newer than the newest live run"


def test_a_run_superseded_exactly_so_long_ago_stays_and_numbers_are_in_order(lake):
    runs = {f"2024-01-01.{n}": {"finished_at": f"2024-01-01T{n:02d}:00:00+00:00"} for n in (2, 9, 10, 11)}

    def old(hour):
        return publish.collectable(lake, runs, Gc(keep_runs=1, keep_days=7), datetime(2024, 1, 8, hour, tzinfo=UTC))

    assert old(9) == []
    assert old(10) == ["2024-01-01.2"]
    assert old(12) == ["2024-01-01.2", "2024-01-01.9", "2024-01-01.10"]


def sealed(lake, run_id, **head):
    folder = publish.stage(lake, run_id)
    (folder / "data").write_text("x")
    store.seal(folder, {"run_id": run_id, **head})
    return folder


@pytest.fixture
def lake(tmp_path):
    lake = Lake(tmp_path / "lake")
    lake.create()
    return lake


def test_staging_a_run_is_an_empty_folder_below_staging_and_promotion_moves_it(lake):
    folder = publish.stage(lake, "2024-01-01.1")
    assert (folder, list(folder.iterdir())) == (lake.staging / "2024-01-01.1", [])
    publish.promote(lake, folder)
    assert lake.run("2024-01-01.1").is_dir()
    assert not folder.exists()


def test_a_number_stays_taken_when_its_run_was_deleted_and_a_file_takes_none(lake):
    (lake.history / "2024-01-01.4").mkdir(parents=True)
    (lake.runs / "2024-01-01.9").write_text("no folder")
    assert publish.next_run_id(lake, date(2024, 1, 1)) == "2024-01-01.5"


def test_a_run_blocked_again_takes_its_own_place_and_a_published_one_leaves_it(lake):
    publish.block(lake, sealed(lake, "2024-01-01.1", n=1))
    kept = publish.block(lake, sealed(lake, "2024-01-01.1", n=2))
    assert kept == lake.blocked / "2024-01-01.1"
    assert store.unseal(kept)["n"] == 2
    publish.unblock(lake)
    assert kept.is_dir(), "not published"
    publish.promote(lake, sealed(lake, "2024-01-01.1"))
    publish.block(lake, sealed(lake, "2024-01-02.1"))
    publish.unblock(lake)
    assert [path.name for path in lake.blocked.iterdir()] == ["2024-01-02.1"]


def run_with_tables(lake, run_id="2024-01-01.1"):
    folder = publish.stage(lake, run_id)
    for table in (schemas.POPULAR, schemas.ITEMS):
        publish.write_table(folder, table, schemas.arrow(table).empty_table())
    (folder / "popular" / "note.txt").write_text("no table")
    store.seal(folder, {"run_id": run_id, "run_date": "2024-01-01", "k": 10, "rows": {"popular": 0}})
    publish.promote(lake, folder)
    return store.read_checked_json(lake.run(run_id) / store.MANIFEST)


def test_latest_json_says_all_of_the_run_and_only_tables_that_it_counted(lake):
    manifest = run_with_tables(lake)
    path = "popular/part-00000.parquet"
    assert publish.latest(lake, "2024-01-01.1") == {
        "contract": schemas.CONTRACT_VERSION,
        "run_id": "2024-01-01.1",
        "run_date": "2024-01-01",
        "k": 10,
        "manifest_sha256": store.sha256_file(lake.run("2024-01-01.1") / store.MANIFEST),
        "tables": {"popular": {"rows": 0, "files": [{"path": f"runs/2024-01-01.1/{path}", **manifest["files"][path]}]}},
        "withdrawn": [],
        "catalog_sha256": None,
    }
    lake.catalog.write_bytes(b"catalog")
    assert publish.latest(lake, "2024-01-01.1")["catalog_sha256"] == store.sha256_file(lake.catalog)


def test_a_catalog_differs_from_what_latest_json_was_written_for(lake):
    assert publish.catalog_differs(lake) is False, "no latest.json, nothing to hold against"
    run_with_tables(lake)
    publish.write_latest(lake, "2024-01-01.1")
    assert publish.catalog_differs(lake) is False, "written without a catalog"
    lake.catalog.write_bytes(b"catalog")
    publish.write_latest(lake, "2024-01-01.1")
    assert publish.catalog_differs(lake) is False
    lake.catalog.write_bytes(b"catalof")
    assert publish.catalog_differs(lake) is True
    lake.catalog.unlink()
    assert publish.catalog_differs(lake) is True
    lake.latest.write_text("{")
    assert publish.catalog_differs(lake) is False


def test_a_withdrawal_is_unfinished_until_latest_json_tells_it(lake):
    assert publish.withdrawal_unfinished(lake) is False
    withdrawn.write(lake, {"7": "x"})
    assert publish.withdrawal_unfinished(lake) is True, "there is no latest.json to tell it"
    run_with_tables(lake)
    publish.write_latest(lake, "2024-01-01.1")
    assert publish.withdrawal_unfinished(lake) is False
    withdrawn.write(lake, {})
    assert publish.withdrawal_unfinished(lake) is True
    store.write_checked_json(lake.latest, {"run_id": "2024-01-01.1"})
    assert publish.withdrawal_unfinished(lake) is False, "an older release did not say"


def test_a_copy_beside_its_original_is_half_replaced_and_no_orphan(lake):
    publish.promote(lake, sealed(lake, "2024-01-01.1"))
    publish.promote(lake, sealed(lake, "2024-01-01.2", supersedes="2024-01-01.1"))
    publish.promote(lake, sealed(lake, "2024-01-02.2", supersedes="2024-01-02.1"))
    damaged = lake.run("2024-01-03.1")
    damaged.mkdir()
    assert publish.half_replaced(lake.runs) == [lake.run("2024-01-01.2")]
    assert publish.orphans(lake, []) == ["2024-01-01.1", "2024-01-02.2"], "sound, and no copy"
    publish.retire(lake, {"2024-01-01.1": {"reason": "rolled_back", "at": "2024-01-06T00:00:00+00:00", "to": "x"}})
    assert publish.orphans(lake, ["2024-01-02.2"]) == []


def test_runs_left_behind_are_adopted_in_order_of_their_numbers(lake):
    for number in (10, 9, 100):
        publish.promote(lake, sealed(lake, f"2024-01-01.{number}"))
    assert publish.orphans(lake, []) == ["2024-01-01.9", "2024-01-01.10", "2024-01-01.100"]


def test_audits_stand_by_name_with_every_column():
    table = publish.audits_table([AuditResult("b", "warn", False, "1", "0", "why"), AuditResult("a", "error", True)])
    assert table.schema.equals(schemas.arrow(schemas.AUDITS))
    assert table.to_pylist() == [
        {"check": "a", "severity": "error", "passed": True, "observed": None, "expected": None, "detail": None},
        {"check": "b", "severity": "warn", "passed": False, "observed": "1", "expected": "0", "detail": "why"},
    ]


def test_a_writer_that_fails_closes_its_file(tmp_path):
    with pytest.raises(ZeroDivisionError), publish.TableWriter(tmp_path, schemas.POPULAR) as writer:
        writer.write(rows(20_001))
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), publish.TableWriter(tmp_path, schemas.ITEMS):
        raise ZeroDivisionError
    assert pq.read_metadata(tmp_path / "popular" / "part-00000.parquet").num_rows == 20_000
    assert list((tmp_path / "items").iterdir()) == []


@pytest.mark.parametrize(
    "codes", [[], [5], [7, 7, 7], [3, 1, 3, 9], [1_000_000, 4, 1_000_000, 70], [0, 64], [9, 2, 71]]
)
def test_positions_are_ranked_among_those_that_occur(codes):
    given = np.array(codes, dtype=np.int32)
    used, places = _dictionaries._ranked(given)
    assert used.tolist() == sorted(set(codes))
    assert used.take(places).tolist() == codes
    assert (used.dtype, places.dtype) == (np.int32, np.int32)


@pytest.mark.parametrize("codes", [[1, 129], [1, 128], [7, 3, 7], [], [2**31 - 1, 0, 5]])
def test_positions_are_ranked_in_memory_only_where_they_lie_near(codes, monkeypatch):
    asked = []
    scratch = _threads.scratch
    monkeypatch.setattr(_threads, "scratch", lambda rows, cells: asked.append(cells) or scratch(rows, cells))
    used, places = _dictionaries._ranked(np.array(codes, dtype=np.int32))
    assert (used.tolist(), used[places].tolist()) == (sorted(set(codes)), codes)
    assert used.dtype == places.dtype == np.int32
    near = max(codes, default=0) - min(codes, default=0) + 1 < 64 * len(codes)
    assert bool(asked) == near


@pytest.mark.parametrize("codes", [[3, None, 1, 3], [None, None], [2, 1]])
def test_missing_positions_stay_missing(codes):
    chunks = pa.chunked_array([pa.array(codes[:1], pa.int32()), pa.array(codes[1:], pa.int32())])
    used, places = _dictionaries._distinct(chunks)
    assert used.to_pylist() == sorted({code for code in codes if code is not None})
    assert used.take(places).to_pylist() == codes
    assert (used.type, places.type) == (pa.int32(), pa.int32())


LOOKS = schemas.Table(
    "looks",
    "test",
    tuple(
        schemas.Column(name, "string", "", True) for name in ("user_id", "title", "named", "rank", "score", "genres")
    ),
    sorted_by=("user_id",),
)


def looks(count):
    words = pa.array([f"title {n % 50}" for n in range(count)])
    return pa.table(
        {
            "user_id": pa.array([f"{n:06}" for n in range(count)]),
            "title": words,
            "named": words.dictionary_encode(),
            "rank": pa.array(np.arange(count), pa.int16()),
            "score": pa.array(np.linspace(1, 0, count), pa.float32()),
            "genres": pa.array([["a", "b"]] * count, pa.list_(pa.string())),
        }
    )


def chunks(path):
    """Column → its chunk's facts in the first row group."""
    group = pq.read_metadata(path).row_group(0)
    return {group.column(n).path_in_schema.split(".")[0]: group.column(n) for n in range(group.num_columns)}


def test_how_a_column_lies_on_disk_goes_by_what_it_holds(tmp_path):
    publish.write_table(tmp_path, LOOKS, looks(3_000))
    (path,) = (tmp_path / "looks").iterdir()
    found = chunks(path)
    assert {facts.compression for facts in found.values()} == {"ZSTD"}
    assert {name for name, facts in found.items() if facts.is_stats_set} == {"user_id", "rank", "score", "genres"}
    assert {name for name, facts in found.items() if facts.has_dictionary_page} == found.keys() - {"score"}
    assert "BYTE_STREAM_SPLIT" in found["score"].encodings
    assert all(facts.has_offset_index for facts in found.values()), "an index of the pages"
    assert b"ARROW:schema" not in (pq.read_metadata(path).metadata or {})
    plain = tmp_path / "plain.parquet"
    with _tables.parquet_writer(plain, looks(10).schema) as writer:
        writer.write_table(looks(10))
    assert all(facts.is_stats_set for facts in chunks(plain).values()), "where no order is known, all have statistics"


def test_a_changed_byte_of_a_page_is_found(tmp_path):
    publish.write_table(tmp_path, LOOKS, looks(3_000))
    (path,) = (tmp_path / "looks").iterdir()
    content = bytearray(path.read_bytes())
    score = chunks(path)["score"]
    content[score.data_page_offset + score.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(path, columns=["score"], page_checksum_verification=True)


def test_a_whole_group_is_written_at_once(tmp_path):
    with publish.TableWriter(tmp_path, schemas.POPULAR) as writer:
        writer.write(rows(19_999))
        assert list((tmp_path / "popular").iterdir()) == []
        writer.write(rows(1))
        assert [path.name for path in (tmp_path / "popular").iterdir()] == ["part-00000.parquet"]
    assert pq.read_metadata(tmp_path / "popular" / "part-00000.parquet").num_rows == 20_000


def test_a_write_that_fails_names_the_folder(tmp_path, monkeypatch):
    class Broken:
        def __init__(self, *_):
            pass

        def write_table(self, *_, **__):
            pass

        def close(self):
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as ends:
        ends.setattr(_tables, "parquet_writer", Broken)
        with pytest.raises(OSError, match="No space") as told:
            publish.write_table(tmp_path, schemas.POPULAR, rows(3))
    assert told.value.filename == str(tmp_path / "popular")
    monkeypatch.setattr(_tables, "parquet_writer", lambda *_: Broken().close())
    with pytest.raises(OSError, match="No space") as told:
        publish.write_table(tmp_path, schemas.POPULAR, rows(3))
    assert told.value.filename == str(tmp_path / "popular")


_FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from recbatch import schemas
from recbatch.publish import TableWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
random = np.random.default_rng(0)
rows = 300_000
text = pa.array([str(n) for n in random.integers(10**9, size=rows)])
columns = [text, np.ones(rows, np.int16), text, text, random.random(rows, np.float32)]
table = pa.table(dict(zip(schemas.SIMILAR_ITEMS.column_names, columns)))
writer = TableWriter(Path(sys.argv[1]), schemas.SIMILAR_ITEMS)
try:
    if sys.argv[2] == "ended":
        with writer:
            writer.write(table)
    else:
        writer.write(table)
except OSError as error:
    print(error.errno, error.filename)
del writer
"""


@pytest.mark.parametrize("how", ["ended", "abandoned"])
def test_a_file_that_may_not_grow_is_named_once(how, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path), how], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{errno.EFBIG} {tmp_path / 'similar_items'}\n"
