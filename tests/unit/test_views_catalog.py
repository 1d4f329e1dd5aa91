"""The catalog: what it holds, that it is replaced whole, reads under any name and after a move, and its errors."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbatch import schemas, store, views
from recbatch.errors import InputMissing, StorageFailed, UsageError
from recbatch.views import _catalog
from tests.unit import _lake_fixture as lake_fixture
from tests.unit._lake_fixture import FIRST, SECOND

HOSTILE = [
    "it's; drop",
    'say "hi"',
    "new\nline",
    "東京 ü",
    "env=prod",
    "a[b]c",
    "st*r",
    "-- x",
    "{{ 7 * 7 }}",
    "%41 $$",
]
VIEWS = ["recommendations", "recommendations_by_user", "recommendations_history", "run_diff", "runs", "users", "audits"]
CALLS = ["recs_for('a')", "recs_for('nobody')", "similar_to('1')", f"diff_runs('{FIRST}', '{SECOND}')"]


def make_lake(root: Path) -> store.Lake:
    lake = store.Lake(root)
    lake_fixture.publish(lake, FIRST)
    lake_fixture.publish(lake, SECOND, lake_fixture.second_night(), parent=FIRST)
    views.write_catalog(lake, [FIRST, SECOND])
    return lake


@pytest.fixture
def lake(tmp_path: Path) -> store.Lake:
    """A lake to change."""
    return make_lake(tmp_path / "lake")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> store.Lake:
    """A lake to leave as it is."""
    return make_lake(tmp_path_factory.mktemp("kept") / "lake")


def answers(con: duckdb.DuckDBPyConnection, prefix: str = "") -> list[object]:
    return [con.execute(f"from {prefix}{name} order by all").fetchall() for name in (*VIEWS, *CALLS)]


def test_live_runs_are_those_written_in_order_of_date_and_number(lake: store.Lake) -> None:
    lake_fixture.publish(lake, "2026-03-01.2")
    lake_fixture.publish(lake, "2026-03-01.10")
    views.write_catalog(lake, ["2026-03-01.10", SECOND, FIRST, "2026-03-01.2"])
    assert views.live_runs(lake) == [FIRST, "2026-03-01.2", "2026-03-01.10", SECOND]
    views.write_catalog(lake, [FIRST])
    assert views.live_runs(lake) == [FIRST]


def test_without_a_catalog_no_run_is_live(tmp_path: Path) -> None:
    assert views.live_runs(store.Lake(tmp_path)) == []


def test_the_file_is_the_groups_to_read_and_nothing_is_left_in_staging(kept: store.Lake) -> None:
    assert stat.S_IMODE(kept.catalog.stat().st_mode) == 0o640
    assert list(kept.staging.iterdir()) == []
    assert sorted(path.name for path in kept.root.iterdir() if path.is_file()) == ["catalog.duckdb"]


def test_the_file_opens_in_duckdb_from_1_4_on(kept: store.Lake) -> None:
    with duckdb.connect() as con:
        con.execute(f"attach '{kept.catalog}' as c (read_only)")
        tags = con.execute("select tags from duckdb_databases() where database_name = 'c'").fetchall()
    assert tags[0][0]["storage_version"] == "v1.0.0+"


def test_leftovers_of_a_killed_build_are_no_obstacle(lake: store.Lake) -> None:
    (lake.staging / "catalog.duckdb.new").write_bytes(b"half a file")
    (lake.staging / "catalog.duckdb.new.wal").write_bytes(b"half a log")
    views.write_catalog(lake, [FIRST])
    assert views.live_runs(lake) == [FIRST]
    assert list(lake.staging.iterdir()) == []


def test_the_content_is_a_function_of_the_runs(lake: store.Lake) -> None:
    def content() -> list[object]:
        with views.connect(lake) as con:
            said = con.execute(
                "select view_name, sql, comment from duckdb_views() where not internal order by 1"
            ).fetchall()
            macros = con.execute(
                "select function_name, macro_definition from duckdb_functions() where function_name = 'recs_for'"
            )
            return [said, macros.fetchall()]

    before = content()
    views.write_catalog(lake, [SECOND, FIRST])
    assert content() == before


@pytest.mark.parametrize("name", ["c", "other", "Warehouse 7", "recommendations"])
def test_every_view_and_macro_works_attached_under_any_name(kept: store.Lake, name: str) -> None:
    with views.connect(kept) as con:
        expected = answers(con)
    with duckdb.connect() as con:
        con.execute(f"attach '{kept.catalog}' as {views.quote_name(name)} (read_only)")
        assert answers(con, f"{views.quote_name(name)}.main.") == expected


def test_two_lakes_attached_at_once_keep_apart(kept: store.Lake, tmp_path: Path) -> None:
    other = store.Lake(tmp_path / "other")
    lake_fixture.publish(other, FIRST)
    views.write_catalog(other, [FIRST])
    with duckdb.connect() as con:
        con.execute(f"attach '{kept.catalog}' as a (read_only); attach '{other.catalog}' as b (read_only)")
        found = con.execute("select (select count(*) from a.run_diff), (select count(*) from b.run_diff)").fetchall()
    assert found == [(4, 0)]


def test_a_moved_lake_reads_through_connect_and_with_the_variable(lake: store.Lake, tmp_path: Path) -> None:
    with views.connect(lake) as con:
        expected = answers(con)
    moved = store.Lake(tmp_path / "elsewhere" / "lake")
    moved.root.parent.mkdir()
    shutil.move(lake.root, moved.root)
    with views.connect(moved) as con:
        assert answers(con) == expected
    with duckdb.connect(str(moved.catalog), read_only=True) as con:
        with pytest.raises(duckdb.IOException):
            con.execute("from recommendations")
        con.execute(f"set variable recbatch_root = '{moved.root}'")
        assert answers(con) == expected
    assert views.live_runs(moved) == [FIRST, SECOND]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_lake_may_lie_anywhere(tmp_path: Path, name: str) -> None:
    lake = make_lake(tmp_path / name / "lake")
    assert views.live_runs(lake) == [FIRST, SECOND]
    with views.connect(lake) as con:
        assert con.execute("select count(*) from recommendations_history").fetchall() == [(16,)]
        columns = [row[0] for row in con.execute("describe users").fetchall()]
    assert columns[-1] == "gender"
    with views.over(lake.run(FIRST), lake_fixture.head(), seen=lake_fixture.SEEN) as con:
        assert [result.check for result in views.run_checks(con) if not result.passed] == []


def test_a_relative_lake_is_remembered_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lake = make_lake(Path("sub/../lake"))
    monkeypatch.chdir("/")
    with duckdb.connect(str(tmp_path / "lake" / "catalog.duckdb"), read_only=True) as con:
        assert con.execute("select count(*) from recommendations").fetchall() == [(8,)]
    assert lake.root == Path("sub/../lake")


@pytest.mark.parametrize("name", ["back\\slash", "what?"])
def test_a_path_duckdb_cannot_take_is_refused_with_a_cure(tmp_path: Path, name: str) -> None:
    lake = store.Lake(tmp_path / name)
    lake_fixture.publish(lake, FIRST)
    with pytest.raises(UsageError, match="rename the folder"):
        views.write_catalog(lake, [FIRST])


def test_a_new_connection_sees_the_new_catalog_while_an_old_one_is_open(lake: store.Lake) -> None:
    count = "select count(*) from runs"
    with views.connect(lake) as old:
        assert old.execute(count).fetchall() == [(2,)]
        views.write_catalog(lake, [FIRST])
        with views.connect(lake) as new:
            assert new.execute(count).fetchall() == [(1,)]
            assert new.execute("select count(*) from users where user_id = 'c'").fetchall() == [(1,)]
            assert old.execute(count).fetchall() == [(2,)]
            assert old.execute("select count(*) from users where user_id = 'd'").fetchall() == [(1,)]


def test_an_empty_catalog_is_refused(kept: store.Lake) -> None:
    with pytest.raises(UsageError, match="at least one run"):
        views.write_catalog(kept, [])
    assert views.live_runs(kept) == [FIRST, SECOND]


def test_a_run_named_twice_is_refused(kept: store.Lake) -> None:
    with pytest.raises(UsageError, match="twice"):
        views.write_catalog(kept, [FIRST, FIRST])


@pytest.mark.parametrize("text", ["", "x", "2026-03-01", "../2026-03-01.1", "2026-03-01.1'"])
def test_what_is_no_run_id_is_refused(kept: store.Lake, text: str) -> None:
    with pytest.raises(UsageError, match="no run id"):
        views.write_catalog(kept, [text])


def test_a_missing_run_leaves_the_old_catalog(kept: store.Lake) -> None:
    with pytest.raises(InputMissing):
        views.write_catalog(kept, [FIRST, "2026-03-09.1"])
    assert views.live_runs(kept) == [FIRST, SECOND]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1xxxxxxxxPAR1"])
def test_a_damaged_table_leaves_the_old_catalog(lake: store.Lake, content: bytes) -> None:
    folder = lake_fixture.publish(lake, "2026-03-03.1")
    (folder / "users" / "part-00000.parquet").write_bytes(content)
    with pytest.raises(StorageFailed, match="recbatch verify") as error:
        views.write_catalog(lake, [FIRST, "2026-03-03.1"])
    assert "\n" not in str(error.value)
    assert views.live_runs(lake) == [FIRST, SECOND]
    assert list(lake.staging.iterdir()) == []


def test_a_run_of_another_layout_is_refused(lake: store.Lake) -> None:
    lake_fixture.publish(lake, "2026-03-03.1", contract=99)
    with pytest.raises(StorageFailed, match=r"layout 99.*migrate"):
        views.write_catalog(lake, [FIRST, "2026-03-03.1"])


@pytest.mark.parametrize("keep", [0, 10, 5000, 13000])
def test_a_damaged_catalog_is_named_with_its_cure(lake: store.Lake, keep: int) -> None:
    whole = lake.catalog.read_bytes()
    lake.catalog.write_bytes(whole[:keep])
    for read in (lambda: views.live_runs(lake), lambda: views.connect(lake).__enter__()):
        with pytest.raises(StorageFailed, match=r"catalog\.duckdb.*recbatch nightly") as error:
            read()
        assert "\n" not in str(error.value)


def test_overwritten_blocks_of_a_catalog_are_found(lake: store.Lake) -> None:
    whole = bytearray(lake.catalog.read_bytes())
    whole[12300:14300] = b"\xff" * 2000
    lake.catalog.write_bytes(whole)
    with pytest.raises(StorageFailed):
        views.live_runs(lake)


def spoil(path: Path, row_group: int | None = None) -> None:
    """Overwrites the data of a Parquet file, or of one row group; the footer stays."""
    metadata = pq.read_metadata(path)
    groups = range(metadata.num_row_groups) if row_group is None else [row_group]
    content = bytearray(path.read_bytes())
    for group in groups:
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            start = min(chunk.data_page_offset, chunk.dictionary_page_offset or chunk.data_page_offset)
            content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)


def test_a_filter_on_run_date_reads_that_nights_files_only(lake: store.Lake) -> None:
    spoil(lake.run(FIRST) / "recommendations" / "part-00000.parquet")
    with views.connect(lake) as con:
        good = "select count(*), count(title), max(score) from recommendations_history where "
        assert con.execute(good + "run_date = '2026-03-02'").fetchall() == [(8, 8, 9.0)]
        assert con.execute(good + "run_date > '2026-03-01' and user_id = 'a'").fetchall() == [(3, 3, 9.0)]
        assert con.execute(good + f"run_id = '{SECOND}'").fetchall() == [(8, 8, 9.0)]
        assert con.execute(good + "run_date = $1::date", ["2026-03-02"]).fetchall() == [(8, 8, 9.0)]
        assert len(con.execute("from diff_runs($1, $1)", [SECOND]).fetchall()) == 3
        with pytest.raises(duckdb.Error):
            con.execute(good + "true").fetchall()


@pytest.mark.parametrize(
    "ask",
    [
        "from recs_for($1)",
        "from recommendations where user_id = $1",
        "select unnest(recommendations) from recommendations_by_user where user_id = $1",
    ],
)
def test_a_lookup_reads_the_users_row_group_only(lake: store.Lake, ask: str) -> None:
    path = lake.run(SECOND) / "recommendations" / "part-00000.parquet"
    pq.write_table(pq.read_table(path), path, row_group_size=3)
    views.write_catalog(lake, [SECOND])
    spoil(path, row_group=0)
    with views.connect(lake) as con:
        assert len(con.execute(ask, ["d"]).fetchall()) == 3
        with pytest.raises(duckdb.Error):
            con.execute(ask, ["a"]).fetchall()


def test_a_catalog_as_it_would_be_written_is_not_outdated(kept: store.Lake) -> None:
    assert views.outdated(kept, [FIRST, SECOND]) == []
    assert list(kept.staging.iterdir()) == []


def test_views_and_macros_of_another_text_are_outdated(lake: store.Lake) -> None:
    with duckdb.connect(str(lake.catalog)) as con:
        con.execute("create or replace view users as select 1 as user_id")
        con.execute("comment on view items is 'something else'")
        con.execute("create or replace macro similar_to(item) as table select item as item_id")
        con.execute("create view of_an_older_release as select 1 as x")
        con.execute("drop view holdout")
    found = views.outdated(lake, [SECOND, FIRST])
    assert {"holdout", "items", "of_an_older_release", "similar_to", "users"} <= set(found)
    assert {"recommendations", "popular", "runs"}.isdisjoint(found)
    assert found == sorted(found)
    lake.catalog.write_bytes(b"no database")
    with pytest.raises(StorageFailed, match=r"catalog\.duckdb: cannot be read"):
        views.outdated(lake, [FIRST, SECOND])
    assert list(lake.staging.iterdir()) == []


def split(lake: store.Lake, run_id: str, **files: object) -> None:
    """Publishes a run whose recommendations stand in two files; `files` replace them."""
    lake.create()
    folder = lake_fixture.write_run(lake.run(run_id), split=3)
    for name, rows in files.items():
        path = folder / "recommendations" / f"{name.replace('_', '-')}.parquet"
        if rows is None:
            path.unlink()
        else:
            pq.write_table(rows, path, write_statistics=not name.endswith("1"))
    store.seal(folder, lake_fixture.head(run_id))


def places(lake: store.Lake, run_id: str) -> tuple[str, ...]:
    return _catalog._first_users(lake, _catalog._run(lake, run_id), "recommendations")


def test_the_first_user_of_each_file_is_known_where_no_user_spans_two(tmp_path: Path) -> None:
    lake = store.Lake(tmp_path)
    split(lake, FIRST)
    assert places(lake, FIRST) == ("a", "b'; drop", "c")
    lake_fixture.publish(lake, SECOND)
    assert places(lake, SECOND) == (), "one file needs no choice"


def test_files_that_do_not_say_or_share_a_user_are_all_read(tmp_path: Path) -> None:
    lake = store.Lake(tmp_path)
    rows = pq.read_table(lake_fixture.write_run(tmp_path / "x") / "recommendations")
    split(lake, "2026-03-01.1", part_00001=rows.slice(3, 3))
    assert places(lake, "2026-03-01.1") == (), "no statistics"
    split(lake, "2026-03-02.1", part_00000=rows.slice(0, 4))
    assert places(lake, "2026-03-02.1") == (), "b stands in two files"
    split(lake, "2026-03-03.1", part_00000=rows.slice(0, 0))
    assert places(lake, "2026-03-03.1") == (), "no rows"
    split(lake, "2026-03-04.1", part_00000=rows.slice(0, 3).select(rows.column_names[::-1]))
    assert places(lake, "2026-03-04.1") == (), "the first column is another"
    nul = rows.slice(0, 3).set_column(0, rows.schema.field("user_id"), pa.array(["\0a"] * 3))
    split(lake, "2026-03-05.1", part_00000=nul)
    assert places(lake, "2026-03-05.1") == (), "SQL cannot name the first user"
    split(lake, "2026-03-06.1")
    path = lake.run("2026-03-06.1") / "recommendations" / "part-00001.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(StorageFailed) as told:
        places(lake, "2026-03-06.1")
    assert str(told.value).startswith(f"{path}: cannot be read (")
    assert str(told.value).endswith("); check the disk and `recbatch verify`")


def outcome(lake: store.Lake, run_id: str, number: str, **head: object) -> Path:
    folder = lake.outcomes / run_id / number
    folder.mkdir(parents=True)
    (folder / "data").write_text("x")
    store.seal(folder, {"run_id": run_id, "contract": schemas.CONTRACT_VERSION} | head)
    return folder


def test_the_newest_outcome_of_each_run_counts(kept: store.Lake, tmp_path: Path) -> None:
    lake = store.Lake(tmp_path)
    lake.create()
    assert views.newest_outcomes(lake) == []
    ninth, tenth = outcome(lake, FIRST, "9"), outcome(lake, FIRST, "10")
    other = outcome(lake, "2026-02-01.1", "1")
    (lake.outcomes / FIRST / "11").mkdir()  # not sealed: a kill
    outcome(lake, FIRST, "x")
    assert views.newest_outcomes(lake) == [other, tenth]
    assert ninth.is_dir()
    found = _catalog._outcomes(lake, set())
    assert [(run.folder, run.files) for run in found] == [
        ("/outcomes/2026-02-01.1/1", ("data",)),
        (f"/outcomes/{FIRST}/10", ("data",)),
    ]
    assert [run.run_id for run in _catalog._outcomes(lake, {"2026-02-01.1"})] == [FIRST]
    outcome(lake, FIRST, "12", contract=0)
    assert [run.run_id for run in _catalog._outcomes(lake, set())] == ["2026-02-01.1"], "of another layout"


def test_a_fault_in_our_own_sql_is_no_fault_of_the_disk(lake: store.Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException):

        def broken(*_: object, kind: type[duckdb.Error] = kind) -> None:
            raise kind("a typo")

        monkeypatch.setattr(_catalog._surface, "create", broken)
        with pytest.raises(kind, match="a typo"):
            views.write_catalog(lake, [FIRST])
    monkeypatch.setattr(_catalog._surface, "create", lambda *_: (_ for _ in ()).throw(duckdb.IOException("no disk")))
    with pytest.raises(StorageFailed) as told:
        views.write_catalog(lake, [FIRST])
    fresh = lake.staging / "catalog.duckdb.new"
    assert str(told.value) == f"{fresh}: the catalog cannot be built (no disk); check the disk and `recbatch verify`"
    assert list(lake.staging.iterdir()) == []
