"""What every file below `sql/` looks like, and that every view, macro and column explains itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recbatch import schemas, views
from recbatch.views import _templates
from tests.unit import _lake_fixture as lake_fixture

ROOT = Path(__file__).parents[2] / "sql"
FILES = sorted(ROOT.rglob("*.sql"))
MARTS = sorted(path.stem for path in (ROOT / "marts").glob("*.sql"))
TABLES = {table.name: table for table in schemas.RUN_TABLES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_a_lower_case_select_that_says_what_a_row_is(path: Path) -> None:
    text = path.read_text("utf-8")
    lines = text.splitlines()
    assert lines[0].startswith(("-- One row per ", "-- One row where "))
    code = re.sub(r"--.*|'[^']*'|\{\{.*?\}\}|\{%.*?%\}", "", text)
    assert code == code.lower()
    assert max(map(len, lines)) <= 120
    if not path.stem.startswith("stg_"):
        assert text.endswith("\nselect * from final\n")


@pytest.mark.parametrize("path", sorted((ROOT / "checks").glob("*.sql")), ids=lambda path: path.stem)
def test_a_check_says_its_severity_and_what_should_be(path: Path) -> None:
    second, third = path.read_text("utf-8").splitlines()[1:3]
    assert second in ("-- severity: error", "-- severity: warn")
    assert third.startswith("-- expected: ")


@pytest.mark.parametrize("kind", ["staging", "marts", "macros", "checks"])
def test_the_loader_finds_every_file(kind: str) -> None:
    assert list(_templates.load(kind)) == sorted(path.stem for path in (ROOT / kind).glob("*.sql"))


def test_every_table_of_a_run_has_a_staging_file_and_a_view() -> None:
    assert TABLES.keys() <= set(MARTS)
    assert {f"stg_{name}" for name in TABLES} <= set(_templates.load("staging"))


def test_views_macros_and_columns_explain_themselves_in_the_words_of_the_schemas(tmp_path: Path) -> None:
    folder = lake_fixture.write_run(tmp_path / "run")
    with views.over(folder, lake_fixture.head()) as con:
        said = dict(con.execute("select view_name, comment from duckdb_views() where not internal").fetchall())
        macros = con.execute(
            "select function_name, comment from duckdb_functions() where function_type = 'table_macro' and not internal"
        ).fetchall()
        columns = con.execute(
            "select table_name, column_name, comment from duckdb_columns() where not internal"
        ).fetchall()
    assert all(said[name].startswith("One row per ") for name in MARTS)
    assert {name for name, _ in macros} == {path.stem for path in (ROOT / "macros").glob("*.sql")}
    assert all(comment.startswith("One row per ") for _, comment in macros)
    extra = {(name, field.name) for name, field in lake_fixture.EXTRA.items()}
    assert [c for c in columns if c[0] in MARTS and not c[2] and c[:2] not in extra] == []
    for name, table in TABLES.items():
        found = [(column, comment) for view, column, comment in columns if view == name]
        assert found[: len(table.columns)] == [(c.name, c.comment) for c in table.columns]


def test_a_leading_comment_is_read_with_its_continued_lines() -> None:
    file = _templates.parse(
        "x", "-- One row per user: it's so.\n-- severity: warn\n-- expected: this\n--    and that\nselect 1"
    )
    assert file.comment == "One row per user: it's so."
    assert file.notes == {"severity": "warn", "expected": "this and that"}
