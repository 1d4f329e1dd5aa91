"""Strings that mean harm, through every entrance: nothing outside the lake is read, written or run."""

import itertools
from pathlib import Path

import click
import pyarrow as pa
import pytest
from click.testing import CliRunner
from recbatch.jobs.cli import cli

from recbatch import rules, store, train, views
from recbatch.config import Source
from recbatch.errors import ConfigError, RecbatchError
from recbatch.store import Lake
from tests.unit import _lake_fixture as fixture

PATHS = [
    *("../outside", "/etc/passwd", "..", ".", "", "a/../../x", "runs/../../outside", "~root", "$HOME", "`id`", "$(id)"),
    *("x\0y", "-rf", "--help", "con\nnew", "%2e%2e/x", "..\\x", "file:///etc/passwd", "//host/x", "x" * 5_000),
]
WORDS = [
    *(
        "' or 1=1 --",
        "'; drop view users; --",
        '"; drop view users; --',
        "$$; select 1; $$",
        "{{ 7 * 7 }}",
        "{% raw %}",
    ),
    *("%s%n", "\\'; attach 'x'", "null", "\u202e", "e\u0301", "🎬", "<script>alert(1)</script>", "=cmd|' /C calc'!A0"),
    *(
        "'||(select 1)||'",
        "a'/**/union/**/select",
        "\x1b[31m",
        "\ufeff",
        "\ud7ff",
        "x' and getvariable('recbatch_root')",
    ),
]
MIXED = [f"{path}/{word}" for path in PATHS[:8] for word in WORDS[:12]]
NAMES = [*PATHS, *WORDS, *MIXED]
OUTSIDE = "OUTSIDE"
SQL = [
    "select * from read_text('{out}')",
    "select * from read_csv('{out}')",
    "select * from read_blob('{out}')",
    "select * from read_parquet('{out}')",
    "select * from read_json('{out}')",
    "select * from glob('{out}')",
    "select * from '{out}'",
    "from '{out}'",
    "select * from read_text('{lake}/../outside.txt')",
    "select * from read_text('{lake}/runs/../../outside.txt')",
    "select * from read_text(['{out}', '{out}'])",
    "select * from parquet_metadata('{out}')",
    "select * from sniff_csv('{out}')",
    "select * from read_text('/etc/passwd')",
    "select * from read_text('/proc/self/environ')",
    "select * from read_text('file://{out}')",
    "select * from read_csv('http://127.0.0.1:9/x')",
    "select * from read_csv('https://127.0.0.1:9/x')",
    "select * from read_parquet('s3://bucket/x')",
    "copy (select 1) to '{new}'",
    "copy (select 1) to '{lake}/runs/new.csv'",
    "copy (select 1) to '{lake}/catalog.duckdb'",
    "copy users to '{new}'",
    "copy users from '{out}'",
    "explain analyze copy (select 1) to '{new}'",
    "explain analyze copy (select 1) to '{lake}/new.csv'",
    "explain (analyze) copy (select 1) to '{lake}/new.csv'",
    "attach '{new}' as x",
    "attach '{lake}/catalog.duckdb' as y",
    "attach ':memory:' as z",
    "detach recbatch",
    "install httpfs",
    "load httpfs",
    "load '{out}'",
    "force install spatial",
    "set enable_external_access = true",
    "set allowed_directories = ['/']",
    "set lock_configuration = false",
    "reset lock_configuration",
    "pragma enable_external_access",
    "set variable recbatch_root = '/etc'",
    "set temp_directory = '/tmp'",
    "set global threads = 1",
    "create table t as select 1",
    "create view v as select 1",
    "create macro m() as 1",
    "create or replace view users as select 1",
    "create secret (type s3)",
    "create temp table t (x int)",
    "drop view users",
    "insert into users values (1)",
    "update users set user_id = 'x'",
    "delete from users",
    "truncate users",
    "alter view users rename to x",
    "comment on view users is 'x'",
    "begin",
    "commit",
    "checkpoint",
    "force checkpoint",
    "vacuum",
    "analyze",
    "export database '{new}'",
    "import database '{new}'",
    "call pragma_version()",
    "use memory",
    "prepare p as select 1",
    "execute p",
    "deallocate p",
    "select 1; select 2",
    "select 1; drop view users",
    "select 1; copy (select 1) to '{new}'",
    "select getenv('HOME')",
    "pragma database_list; select 1",
    "with x as (delete from users returning *) select * from x",
    "select * from query('copy (select 1) to ''{new}''')",
    "select * from query_table('{out}')",
    "explain attach '{new}' as x",
    "explain set threads = 1; select 1",
    "",
    ";",
    "--",
    "/*",
    "\0",
    "select",
    "select 1 \0; drop view users",
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A lake with a secret beside it."""
    root = tmp_path_factory.mktemp("hostile")
    (root / "outside.txt").write_text(OUTSIDE)
    made = Lake(root / "lake")
    fixture.publish(made, fixture.FIRST)
    views.write_catalog(made, [fixture.FIRST])
    return made


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "_lock"}


def test_no_sql_reads_or_writes_beyond_the_lake_or_loosens_the_connection(lake):
    root = lake.root.parent
    before = bytes_of(root)
    with views.connect(lake) as con:
        for form in SQL:
            text = form.format(out=root / "outside.txt", new=root / "new", lake=lake.root)
            try:
                answer = str(views.query(con, text).to_pylist())
            except RecbatchError:
                continue
            assert OUTSIDE not in answer, text
            assert "root:" not in answer, text
            assert form.startswith(("call", "explain", "select getenv")) is False, text
    assert bytes_of(root) == before


@pytest.mark.parametrize("view", ["recs_for(?)", "similar_to(?)"])
def test_hostile_ids_are_only_ids(lake, view):
    with views.connect(lake) as con:
        for name in (name for name in NAMES if "\0" not in name):
            rows = views.query(con, f"from {view}", [name]).to_pylist()
            assert all(OUTSIDE not in str(row) for row in rows)


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_hostile_names_of_runs_models_and_sources_are_refused(lake, name):
    root = lake.root.parent
    before = bytes_of(root)
    for entrance in (
        lambda: lake.run(name),
        lambda: train.load(lake, name),
        lambda: Source(uri=f"sample:{name}"),
    ):
        try:
            got = entrance()
        except (RecbatchError, ValueError):
            continue
        assert not isinstance(got, Path) or got.parent == lake.runs, name
    assert bytes_of(root) == before


COMMANDS = [
    ("show", "{}"),
    ("similar", "{}"),
    ("sql", "{}"),
    ("rollback", "{}"),
    ("withdraw", "{}"),
    ("diff", "{}", fixture.FIRST),
    ("report", "{}"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=[command[0] for command in COMMANDS])
def test_hostile_arguments_of_the_command_line_are_told_in_one_line(lake, command):
    before = {path: content for path, content in bytes_of(lake.root.parent).items() if "latest.json" not in path}
    for name in NAMES[:: 2 if command[0] == "show" else 9]:
        words = [command[0], "--lake", str(lake.root), "--", *(word.format(name) for word in command[1:])]
        done = CliRunner().invoke(cli, words)
        assert isinstance(done.exception, RecbatchError | SystemExit | click.ClickException | type(None)), (
            words,
            repr(done.exception),
        )
        assert OUTSIDE not in done.output
    after = {path: content for path, content in bytes_of(lake.root.parent).items() if "latest.json" not in path}
    assert after == before


def test_there_are_at_least_two_hundred_of_them():
    assert len({*SQL, *NAMES}) >= 200


def test_hostile_titles_are_text(tmp_path):
    titles = [name for name in NAMES if "\0" not in name]
    lake = Lake(tmp_path / "lake")
    rows = fixture.tables()
    for number, title in enumerate(itertools.islice(titles, 5)):
        item = list(fixture.TITLES)[number]
        for table in ("recommendations", "recommendations_buffer", "popular"):
            rows[table] = [
                tuple(title if cell == fixture.TITLES[item] else cell for cell in row) for row in rows[table]
            ]
    rows["items"] = [
        (i, t, None, 1, fixture.DAY, fixture.DAY, True, 1979) for i, t in zip(fixture.TITLES, titles, strict=False)
    ]
    fixture.publish(lake, fixture.FIRST, rows)
    views.write_catalog(lake, [fixture.FIRST])
    with views.connect(lake) as con:
        told = views.query(con, "select title from items order by length(item_id), item_id")
    assert told.column(0).equals(pa.chunked_array([pa.array(titles[: len(fixture.TITLES)])]))
    assert store.faults(lake.run(fixture.FIRST)) == []


ITEMS = pa.table({"item_id": ["1", "2"], "title": ["a", "b"], "genres": [["x"], []]})
PREDICATES = [
    *(
        "",
        "--",
        "true) from items; drop table items; --",
        "true) from items --",
        "true), (false",
        "true; select 1",
        "*",
    ),
    *("true) from items union select (true", "true from items where (1=1", "1", "'true'", "null", "title", "?", "$1"),
    *(
        "exists (select 1)",
        "item_id in (select item_id from items)",
        "(select true)",
        "count(*) > 1",
        "columns('x') = 1",
    ),
    *("row_number() over () = 1", "sum(1) over () > 0", "unnest([true])", "items.* is null", "(from items) is null"),
    *(
        "read_text('{out}') = ''",
        "exists (from read_text('{out}'))",
        "'{out}' in (select content from read_text('{out}'))",
    ),
    *(
        "random() < 2",
        "now() > '2020-01-01'::timestamp",
        "current_date > '2020-01-01'::date",
        "age(null::timestamp) is null",
    ),
    *("getvariable('x') is null", "current_setting('threads') = '1'", "nextval('s') = 1", "uuid() is not null"),
    *(
        "getenv('HOME') = ''",
        "query('select 1')",
        "error('x')",
        "sleep_ms(9) is null",
        "version() = ''",
        "write_log('x')",
    ),
    *("set_config('a', 'b')", "load_extension('x')", "glob('/*') = ''", "item_id::int / 0 > title::int", "x\0y"),
    *("not " * 900 + "true", "(" * 5_000 + "true" + ")" * 5_000, " or ".join(["true"] * 50_000) + " or"),
    *("length(repeat('x', 9000000000)) > 0", "len(range(4000000000)) > 1", "recbatch.items.title = 'a'"),
]


@pytest.mark.parametrize("predicate", [*PREDICATES, *WORDS])
def test_a_condition_on_items_computes_and_does_nothing_else(tmp_path, predicate):
    out = tmp_path / "outside.txt"
    out.write_text(OUTSIDE)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigError) as error:
        rules.condition(predicate.replace("{out}", str(out)), ITEMS, "rules.eligible")
    assert str(error.value).startswith("rules.eligible: ")
    assert "\n" not in str(error.value)
    assert OUTSIDE not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before
