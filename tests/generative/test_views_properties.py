"""Properties of the SQL surface on generated text and generated runs, against plain Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbatch import schemas, views
from recbatch.errors import UsageError
from recbatch.views import _surface, _templates
from recbatch.views._checks import run_check
from recbatch.views._render import Renderer, Run
from tests.unit import _lake_fixture as lake_fixture
from tests.unit._lake_fixture import FIRST, SECOND

from ._examples import examples

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
IDS = st.text(st.sampled_from("ab'\"\\;-é東{}"), min_size=1, max_size=4)
LISTS = st.dictionaries(
    IDS, st.lists(st.sampled_from("ABCDEF"), min_size=1, max_size=4, unique=True), min_size=1, max_size=4
)


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        yield con


@examples()
@given(text=TEXT)
def test_any_text_reads_back_from_its_literal(con: duckdb.DuckDBPyConnection, text: str) -> None:
    assert con.execute(f"select {views.quote_literal(text)}").fetchall() == [(text,)]


@examples()
@given(name=TEXT.filter(bool))
def test_any_text_can_be_a_name(con: duckdb.DuckDBPyConnection, name: str) -> None:
    quoted = views.quote_name(name)
    assert con.execute(f"select {quoted} from (select 7 as {quoted})").fetchall() == [(7,)]


@examples(40)
@given(
    tail=st.lists(
        st.sampled_from(["select", "1", ";", "explain", "analyze", "copy", "(", ")", "--", "/*", "*/", "\n", "'"])
    )
)
def test_no_words_make_query_write(
    con: duckdb.DuckDBPyConnection, tmp_path_factory: pytest.TempPathFactory, tail: list[str]
) -> None:
    target = tmp_path_factory.getbasetemp() / "written.csv"
    for sql in (
        f"{' '.join(tail)} copy (select 1) to '{target}'",
        f"explain analyze {' '.join(tail)} copy (select 1) to '{target}'",
    ):
        try:
            views.query(con, sql)
        except UsageError as error:
            assert "\n" not in str(error)
    assert not target.exists()


def rows_of(lists: dict[str, list[str]]) -> dict[str, list[tuple[object, ...]]]:
    recommendations = [
        (user, rank, item, item, float(-rank), "model", None)
        for user in sorted(lists, key=str.encode)
        for rank, item in enumerate(lists[user], 1)
    ]
    users = [(user, 0, None, None, "cold", len(lists[user]), None, None) for user in sorted(lists, key=str.encode)]
    return {"recommendations": recommendations, "users": users}


def rendered(
    root: Path, nights: dict[str, dict[str, list[tuple[object, ...]]]], tables: set[str], split: int = 0
) -> Renderer:
    """Writes some tables of some nights; only the views and macros that a property is about are made of it."""
    runs = []
    for run_id, rows in nights.items():
        others = [table.name for table in schemas.RUN_TABLES if table.name not in tables]
        folder = lake_fixture.write_run(root / run_id, rows, without=others, split=split)
        names = tuple(str(path.relative_to(folder)) for path in folder.rglob("*.parquet"))
        runs.append(Run(_surface.complete(lake_fixture.head(run_id)), names, f"/{run_id}"))
    return Renderer(runs, views.quote_literal(root))


@examples(15)
@given(before=LISTS, after=LISTS)
def test_what_changed_is_what_sets_say(
    con: duckdb.DuckDBPyConnection, before: dict[str, list[str]], after: dict[str, list[str]]
) -> None:
    with TemporaryDirectory() as name:
        nights = {FIRST: rows_of(before), SECOND: rows_of(after)}
        made = rendered(Path(name), nights, {"recommendations", "users", "popular"})
        con.execute(f'create or replace macro recs_for("user") as table {made.macro("recs_for")}')
        found = con.execute(
            f"select user_id, kept, overlap, entered, dropped, replaced from ({made.view('run_diff')})"
        ).fetchall()
        lookups = {user: con.execute("select item_id from recs_for($1)", [user]).fetchall() for user in after}
    expected = {}
    for user in before.keys() | after.keys():
        old, new = before.get(user, []), after.get(user, [])
        kept = len(set(old) & set(new))
        expected[user] = (
            kept,
            kept / max(len(old), len(new)),
            [item for item in new if item not in old],
            [item for item in old if item not in new],
            not kept and bool(old) and bool(new),
        )
    assert {row[0]: row[1:] for row in found} == expected
    assert lookups == {user: [(item,) for item in items] for user, items in after.items()}


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "bé"]),
        st.integers(0, 4),
        st.sampled_from(["1", "2", "10"]),
        st.sampled_from([1.0, 2.0]),
        st.sampled_from(["pinned", "model", "popular"]),
    ),
    max_size=6,
)


@examples(40)
@given(rows=ROWS)
def test_the_neighbour_checks_agree_with_a_loop(
    con: duckdb.DuckDBPyConnection, rows: list[tuple[str, int, str, float, str]]
) -> None:
    order = ["pinned", "model", "segment", "popular"]
    pairs = list(zip([None, *rows[:-1]], rows, strict=True)) if rows else []
    same = [(old, new) for old, new in pairs if old and old[0] == new[0]]
    tied = [(old, new) for old, new in same if old[4] == new[4]]
    expected = {
        "recommendations_sorted": sum(new[0].encode() < old[0].encode() for old, new in pairs if old),
        "recommendations_ranks_gapless": sum(
            new[1] != (old[1] + 1 if old and old[0] == new[0] else 1) for old, new in pairs
        ),
        "recommendations_scores_descend": sum(new[3] > old[3] for old, new in tied),
        "recommendations_ties_by_item_id": sum(
            new[3] == old[3] and (len(new[2]), new[2]) < (len(old[2]), old[2]) for old, new in tied
        ),
        "recommendations_sources_in_order": sum(order.index(new[4]) < order.index(old[4]) for old, new in same),
        "recommendations_items_unique": len(
            {(r[0], r[2]) for r in rows if [(s[0], s[2]) for s in rows].count((r[0], r[2])) > 1}
        ),
    }
    content = [(user, rank, item, item, score, source, None) for user, rank, item, score, source in rows]
    with TemporaryDirectory() as name:
        tables = {"recommendations": content, "recommendations_buffer": []}
        made = rendered(Path(name), {FIRST: tables}, set(tables), split=2)
        for table in tables:
            con.execute(f"create or replace view {table} as {made.view(table)}")
        found = {check: run_check(con, _templates.load("checks")[check]).observed for check in expected}
    assert found == {check: str(count) for check, count in expected.items()}
