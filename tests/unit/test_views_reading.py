"""The readers' connection refuses everything but reading the lake; `query` lets one SELECT or EXPLAIN through."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from recbatch import store, views
from recbatch.errors import InputMissing, RecbatchError, StorageFailed, UsageError
from recbatch.views._quoting import absolute
from tests.unit import _lake_fixture as lake_fixture
from tests.unit._lake_fixture import FIRST


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> store.Lake:
    lake = store.Lake(tmp_path_factory.mktemp("kept") / "lake")
    lake_fixture.publish(lake, FIRST)
    views.write_catalog(lake, [FIRST])
    return lake


@pytest.fixture
def con(lake: store.Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    with views.connect(lake) as con:
        yield con


def test_there_must_be_something_to_read(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="recbatch nightly"), views.connect(store.Lake(tmp_path)):
        pass


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to '{outside}/x.csv'",
        "explain analyze copy (select 1) to '{outside}/x.csv'",
        "from read_text('/etc/passwd')",
        "from read_csv('/etc/passwd')",
        "from read_text('{lake}/../secret')",
        "from glob('/etc/*')",
        "attach '/etc/passwd' as p",
        "attach '{outside}/y.duckdb' as y",
        "install httpfs",
        "load '{outside}/evil.duckdb_extension'",
        "set threads = 1",
        "set enable_external_access = true",
        "set allowed_directories = ['/']",
        "set lock_configuration = false",
        "reset lock_configuration",
        "from enable_logging(storage = 'file', storage_path = '{outside}/log')",
        "create table recbatch.t as select 1",
        "drop view recommendations",
        "create or replace view recommendations as select 1",
        "insert into recommendations select * from recommendations",
        "export database '{outside}/e'",
    ],
)
def test_the_connection_refuses(
    con: duckdb.DuckDBPyConnection, lake: store.Lake, tmp_path: Path, statement: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(duckdb.Error):
        con.execute(statement.format(lake=lake.root, outside=outside)).fetchall()
    assert list(outside.iterdir()) == []


def test_the_connection_sees_no_python_variables(con: duckdb.DuckDBPyConnection) -> None:
    private = pa.table({"a": [1]})
    with pytest.raises(duckdb.CatalogException):
        con.execute("from private")
    assert private.num_rows == 1


def test_a_closed_block_closes_the_connection(lake: store.Lake) -> None:
    with views.connect(lake) as con:
        con.execute("select 1")
    with pytest.raises(duckdb.ConnectionException):
        con.execute("select 1")


@pytest.mark.parametrize(
    "sql",
    [
        "select * from recommendations",
        "from recommendations;",
        "with x as (select 1 as a) select * from x -- done",
        "values (1), (2)",
        "describe recommendations",
        "summarize users",
        "show tables",
        "explain from recommendations",
        "EXPLAIN\n ANALYZE select 1",
        "explain (format json) select 1",
        "explain (analyze, format json) select 1",
        "select 'a;b', $$;$$, \"user_id\" from users",
    ],
)
def test_one_select_or_explain_passes(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    assert views.query(con, sql).num_rows > 0


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- nothing",
        ";",
        "select 1; select 2",
        "select 1; copy (select 1) to '{lake}/x.csv'",
        "copy (select 1) to '{lake}/x.csv'",
        "explain analyze copy (select 1) to '{lake}/x.csv'",
        "EXPLAIN (ANALYZE) copy (select 1) to '{lake}/x.csv'",
        "explain (format json, analyze) copy (select 1) to '{lake}/x.csv'",
        "explain /* */ analyze copy (select 1) to '{lake}/x.csv'",
        "/* */ explain analyze copy (select 1) to '{lake}/x.csv'",
        "explain analyze -- x\n copy (select 1) to '{lake}/x.csv'",
        "explain analyze create table memory.main.t as select 1",
        "explain analyze attach '{lake}/z.duckdb' as z",
        "attach '{lake}/z.duckdb' as z",
        "export database '{lake}/e'",
        "set variable recbatch_root = '/etc'",
        "set threads = 1",
        "install httpfs",
        "load httpfs",
        "pragma version",
        "call pragma_version()",
        "create temp table t as select 1",
        "prepare p as select 1",
        "begin",
        "use memory",
        "checkpoint",
        "vacuum",
    ],
)
def test_anything_else_is_refused_and_leaves_no_trace(
    con: duckdb.DuckDBPyConnection, lake: store.Lake, sql: str
) -> None:
    before = sorted(lake.root.rglob("*"))
    with pytest.raises(UsageError) as error:
        views.query(con, sql.format(lake=lake.root))
    assert "\n" not in str(error.value)
    assert sorted(lake.root.rglob("*")) == before


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("selec 1", "syntax error"),
        ("select nope from recommendations", "nope"),
        ("from no_such_view", "no_such_view"),
        ("select 'x'::int", "Could not convert"),
        ("select * from read_text('/etc/passwd')", "disabled by configuration"),
        ("from query('copy (select 1) to ''x.csv''')", "SELECT"),
        ("select $1", "parameter"),
    ],
)
def test_the_askers_mistakes_are_one_line_with_a_cure(con: duckdb.DuckDBPyConnection, sql: str, complaint: str) -> None:
    with pytest.raises(UsageError) as error:
        views.query(con, sql)
    message = str(error.value)
    assert complaint in message and "show tables" in message and "\n" not in message
    assert views.query(con, "select 1 as one").to_pylist() == [{"one": 1}]


def test_parameters_are_values_not_sql(con: duckdb.DuckDBPyConnection) -> None:
    rows = views.query(con, "select user_id, rank from recs_for($1)", ["b'; drop"]).to_pylist()
    assert rows == [{"user_id": "b'; drop", "rank": rank} for rank in (1, 2, 3)]


def test_a_missing_file_behind_a_view_is_storage_not_usage(tmp_path: Path) -> None:
    lake = store.Lake(tmp_path / "lake")
    folder = lake_fixture.publish(lake, FIRST)
    views.write_catalog(lake, [FIRST])
    (folder / "users" / "part-00000.parquet").unlink()
    with views.connect(lake) as con, pytest.raises(StorageFailed, match="recbatch verify"):
        views.query(con, "from users")


def test_over_names_a_damaged_file(tmp_path: Path) -> None:
    folder = lake_fixture.write_run(tmp_path / "run")
    (folder / "items" / "part-00000.parquet").write_bytes(b"PAR1xxxxxxxxPAR1")
    with pytest.raises(StorageFailed) as error, views.over(folder, lake_fixture.head()):
        pass
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_over_reads_below_its_folder_only(tmp_path: Path) -> None:
    folder = lake_fixture.write_run(tmp_path / "run")
    (tmp_path / "secret").write_text("secret")
    with views.over(folder, lake_fixture.head()) as con, pytest.raises(duckdb.PermissionException):
        con.execute(f"from read_text('{tmp_path}/secret')")


def test_over_tells_the_checks_the_settings_of_the_run(tmp_path: Path) -> None:
    folder = lake_fixture.write_run(tmp_path / "run")
    with views.over(folder, lake_fixture.head(keep_seen=True), seen=lake_fixture.SEEN) as con:
        row = con.sql("select * from run_settings").to_arrow_table().to_pylist()[0]
        seen = con.execute("from seen").fetchall()
    assert (row["run_id"], row["k"], row["keep_seen"], row["has_seen"]) == (FIRST, 3, True, True)
    assert seen == [("a", "1", True), ("b'; drop", "3", True)]


def test_over_spills_inside_its_budget_and_cleans_up(tmp_path: Path) -> None:
    folder = lake_fixture.write_run(tmp_path / "run")
    with views.over(folder, lake_fixture.head(), memory_bytes=60 * 2**20) as con:
        heavy = "select count(*) from (select i, max(s) from (select i, repeat(i::text, 9) s from range(4000000) t(i)) group by i)"
        assert con.execute(heavy).fetchall() == [(4_000_000,)]
        assert (tmp_path / "run.spill").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_over_needs_only_what_a_run_knows_while_it_is_staged(tmp_path: Path) -> None:
    folder = lake_fixture.write_run(tmp_path / "run")
    with views.over(folder, {"run_id": FIRST, "run_date": "2026-03-01", "k": 3}) as con:
        assert con.execute("select k, status, finished_at from runs").fetchall() == [(3, "published", None)]


@pytest.mark.parametrize("text", ["", "plain", "it's", "''", "\\", "a\nb", ";--", "東", '"', "$$", "{{ x }}"])
def test_quoted_text_reads_back(text: str) -> None:
    with duckdb.connect() as con:
        assert con.execute(f"select {views.quote_literal(text)}").fetchall() == [(text,)]


def test_quoted_values_keep_their_types() -> None:
    assert [views.quote_literal(value) for value in (None, True, False, 7, -1)] == ["null", "true", "false", "7", "-1"]


@pytest.mark.parametrize("name", ["plain", 'say "hi"', "select", "a;b", "東", "a\nb"])
def test_quoted_names_name(name: str) -> None:
    with duckdb.connect() as con:
        con.execute(f"create view {views.quote_name(name)} as select 1 as {views.quote_name(name)}")
        assert con.execute(f"describe {views.quote_name(name)}").fetchall()[0][0] == name


@pytest.mark.parametrize(
    "call", [lambda: views.quote_literal("a\0b"), lambda: views.quote_name("a\0b"), lambda: views.quote_name("")]
)
def test_what_cannot_be_quoted_is_refused(call: object) -> None:
    with pytest.raises(RecbatchError):
        call()  # type: ignore[operator]


def test_paths_are_made_absolute_and_free_of_dots() -> None:
    assert absolute(Path("/a/b/../c")) == Path("/a/c")
    assert absolute(Path("x")).is_absolute()
