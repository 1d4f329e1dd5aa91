"""What each view and macro answers, over one staged run and over a lake of several."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from recbatch import schemas, store, views
from tests.unit import _lake_fixture as lake_fixture
from tests.unit._lake_fixture import FIRST, SECOND, TITLES

TABLES = [table.name for table in schemas.RUN_TABLES]


def make_lake(root: Path) -> store.Lake:
    lake = store.Lake(root)
    lake_fixture.publish(lake, FIRST)
    lake_fixture.publish(lake, SECOND, lake_fixture.second_night(), parent=FIRST)
    views.write_catalog(lake, [SECOND, FIRST])
    return lake


@pytest.fixture
def lake(tmp_path: Path) -> store.Lake:
    return make_lake(tmp_path / "lake")


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with views.connect(make_lake(tmp_path_factory.mktemp("kept") / "lake")) as con:
        yield con


@pytest.mark.parametrize("table", TABLES)
def test_a_view_over_a_staged_run_returns_its_rows_in_their_order(tmp_path: Path, table: str) -> None:
    folder = lake_fixture.write_run(tmp_path / "run", split=3)
    with views.over(folder, lake_fixture.head()) as con:
        found = con.sql(f"select * from {table}").to_arrow_table()
    spec = next(spec for spec in schemas.RUN_TABLES if spec.name == table)
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        tuple(row) for row in _as_float32(spec, lake_fixture.tables()[table])
    ]
    assert found.schema.types[: len(spec.columns)] == schemas.arrow(spec).types


@pytest.mark.parametrize("table", TABLES)
def test_a_table_without_files_is_an_empty_table_with_its_columns(tmp_path: Path, table: str) -> None:
    folder = lake_fixture.write_run(tmp_path / "run", without=TABLES)
    folder.mkdir()
    with views.over(folder, lake_fixture.head()) as con:
        found = con.sql(f"select * from {table}").to_arrow_table()
    spec = next(spec for spec in schemas.RUN_TABLES if spec.name == table)
    assert (found.num_rows, found.schema.names, found.schema.types) == (0, *_names_and_types(spec))


@pytest.mark.parametrize("table", TABLES)
def test_a_table_without_rows_is_empty(tmp_path: Path, table: str) -> None:
    folder = lake_fixture.write_run(tmp_path / "run", {table: []})
    with views.over(folder, lake_fixture.head()) as con:
        assert con.execute(f"select * from {table}").fetchall() == []


def test_the_current_views_show_the_largest_date_even_where_an_older_one_was_published_later(lake: store.Lake) -> None:
    older = "2026-02-20.7"
    lake_fixture.publish(lake, older)
    views.write_catalog(lake, [older, FIRST, SECOND])
    with views.connect(lake) as con:
        users = [user for (user,) in con.execute("select user_id from users").fetchall()]
        assert users == ["a", "b'; drop", "d"]
        dates = con.execute("select distinct run_date from recommendations_history order by 1").fetchall()
        assert dates == [(date(2026, 2, 20),), (date(2026, 3, 1),), (date(2026, 3, 2),)]


def test_of_several_runs_of_a_date_the_largest_number_counts(lake: store.Lake) -> None:
    lake_fixture.publish(lake, "2026-03-01.10", lake_fixture.second_night())
    lake_fixture.publish(lake, "2026-03-01.9")
    views.write_catalog(lake, ["2026-03-01.10", FIRST, "2026-03-01.9", SECOND])
    with views.connect(lake) as con:
        found = con.execute("select run_id, is_latest, counts from runs").fetchall()
        history = con.execute("select distinct run_id from recommendations_history order by run_id").fetchall()
        changed = con.execute("select count(*) from run_diff where overlap < 1").fetchall()
        forced = con.execute("select count(*) from diff_runs($1, '2026-03-01.9') where overlap < 1", [FIRST]).fetchall()
    assert found == [
        (FIRST, False, False),
        ("2026-03-01.9", False, False),
        ("2026-03-01.10", False, True),
        (SECOND, True, True),
    ]
    assert history == [("2026-03-01.10",), (SECOND,)]
    assert (changed, forced) == ([(0,)], [(0,)])


def test_runs_says_what_was_published(con: duckdb.DuckDBPyConnection) -> None:
    row = con.sql(f"select * from runs where run_id = '{SECOND}'").to_arrow_table().to_pylist()[0]
    counts = dict(row.pop("rows"))
    assert counts["recommendations"] == 8
    assert row == {
        "run_id": SECOND,
        "run_date": date(2026, 3, 2),
        "number": 1,
        "is_latest": True,
        "counts": True,
        "status": "published",
        "degraded_reason": None,
        "started_at": datetime.fromisoformat("2026-03-02 02:00"),
        "finished_at": datetime.fromisoformat("2026-03-02 02:10"),
        "model_id": "m1",
        "trained_before": date(2026, 3, 2),
        "engine": "exact",
        "k": 3,
        "users": 3,
        "parent": FIRST,
        "source": "sample",
        "contract": 1,
    }


def test_runs_survives_hostile_words_in_a_manifest(lake: store.Lake) -> None:
    words = 'it\'s; drop table x -- {{ 7 * 7 }}\n"q" \\ 東'
    lake_fixture.publish(lake, "2026-03-03.1", status="degraded", degraded_reason=words, source=words, model_id=None)
    views.write_catalog(lake, ["2026-03-03.1"])
    with views.connect(lake) as con:
        assert con.execute("select degraded_reason, source, model_id from runs").fetchall() == [(words, words, None)]


def test_recommendations_by_user_holds_each_list_in_one_row(con: duckdb.DuckDBPyConnection) -> None:
    found = con.execute("select user_id, recommendations from recommendations_by_user order by user_id").fetchall()
    assert [(user, [entry["item_id"] for entry in entries]) for user, entries in found] == [
        ("a", ["2", "3", "11"]),
        ("b'; drop", ["10", "3"]),
        ("d", ["1", "2", "3"]),
    ]
    assert found[0][1][0] == {
        "rank": 1,
        "item_id": "2",
        "title": TITLES["2"],
        "score": 9.0,
        "source": "model",
        "because_item_id": "1",
    }


def test_run_diff_says_per_user_what_changed(con: duckdb.DuckDBPyConnection) -> None:
    rows = con.sql("select * from run_diff order by user_id").to_arrow_table().to_pylist()
    assert {(row.pop("run_before"), row.pop("run_after")) for row in rows} == {(FIRST, SECOND)}
    titles = [TITLES[item] for item in ("11", "1", "2", "10", "3")]
    assert [tuple(row.values()) for row in rows] == [
        ("a", 3, 3, 2, 2 / 3, pytest.approx(rbo("2 3 10", "2 3 11")), [TITLES["11"]], [TITLES["10"]], False),
        ("b'; drop", 3, 2, 0, 0 / 3, 0, titles[3:], titles[:3], True),
        ("c", 2, 0, 0, 0 / 2, 0, [], titles[1:3], False),
        ("d", 0, 3, 0, 0 / 3, 0, [TITLES["1"], TITLES["2"], TITLES["3"]], [], False),
    ]


def rbo(a: str, b: str, p: float = 0.9) -> float:
    """Equation 32 of Webber, Moffat and Zobel 2010, term by term; items between blanks."""
    short, long = sorted((a.split(), b.split()), key=len)
    s, n = len(short), len(long)
    shared = [len({*short[:d]} & {*long[:d]}) for d in range(n + 1)]
    agreed = sum(shared[d] / d * p**d for d in range(1, n + 1))
    agreed += sum(shared[s] * (d - s) / (s * d) * p**d for d in range(s + 1, n + 1))
    return (1 - p) / p * agreed + ((shared[n] - shared[s]) / n + shared[s] / s) * p**n


@pytest.mark.parametrize(
    ("before", "after"),
    [("1 2 3 10 11", "1 2 3 10 11"), ("1 2 3", "3 2 1"), ("1 2", "11 10 2 1"), ("11 10 3 2 1", "1"), ("1", "1")],
)
def test_rbo_is_that_of_the_paper_for_lists_of_any_two_lengths(tmp_path: Path, before: str, after: str) -> None:
    lake = store.Lake(tmp_path)
    for run_id, items in ((FIRST, before), (SECOND, after)):
        rows = [("a", n + 1, item, item, -float(n), "model", None) for n, item in enumerate(items.split())]
        lake_fixture.publish(lake, run_id, {"recommendations": rows})
    views.write_catalog(lake, [FIRST, SECOND])
    with views.connect(lake) as con:
        [(forth,)] = con.execute("select rbo from run_diff").fetchall()
        [(back,)] = con.execute("select rbo from diff_runs($1, $2)", [SECOND, FIRST]).fetchall()
    assert forth == pytest.approx(rbo(before, after), abs=1e-12)
    assert back == pytest.approx(forth, abs=1e-12)
    assert forth == pytest.approx(1) if before == after else forth < 1


def test_diff_runs_is_run_diff_for_any_two_runs_either_way(con: duckdb.DuckDBPyConnection) -> None:
    same = "select * exclude (run_before, run_after) from run_diff order by user_id"
    forth = con.execute("from diff_runs($1, $2) order by user_id", [FIRST, SECOND]).fetchall()
    back = con.execute("from diff_runs($1, $2) order by user_id", [SECOND, FIRST]).fetchall()
    assert forth == con.execute(same).fetchall()
    assert [row[6:8] for row in back] == [row[7:5:-1] for row in forth]


def test_run_diff_is_empty_after_a_first_run(tmp_path: Path) -> None:
    with views.over(lake_fixture.write_run(tmp_path / "run"), lake_fixture.head()) as con:
        assert con.execute("from run_diff").fetchall() == []


def test_recs_for_gives_a_known_user_the_list_however_short(con: duckdb.DuckDBPyConnection) -> None:
    for user in ("a", "b'; drop", "d"):
        direct = con.execute("from recommendations where user_id = $1", [user]).fetchall()
        assert con.execute("from recs_for($1)", [user]).fetchall() == direct != []


@pytest.mark.parametrize("user", ["nobody", "", "a'", "a' or '1'='1", '"; drop view users; --', "東京", "{{ 1 }}", 7])
def test_recs_for_gives_an_unknown_user_k_popular_titles(con: duckdb.DuckDBPyConnection, user: str | int) -> None:
    rows = con.execute("from recs_for($1)", [user]).fetchall()
    assert [row[:3] for row in rows] == [(str(user), 1, "1"), (str(user), 2, "2"), (str(user), 3, "3")]
    assert {row[5:] for row in rows} == {("popular", None)}


def test_recs_for_has_the_columns_of_recommendations(con: duckdb.DuckDBPyConnection) -> None:
    assert con.execute("describe from recs_for('a')").fetchall() == con.execute("describe recommendations").fetchall()


def test_similar_to_takes_text_or_a_number(con: duckdb.DuckDBPyConnection) -> None:
    assert [row[2] for row in con.execute("from similar_to('1')").fetchall()] == ["2", "3"]
    assert [row[2] for row in con.execute("from similar_to(1)").fetchall()] == ["2", "3"]
    assert con.execute("from similar_to('no such item')").fetchall() == []


def test_recs_live_drops_what_was_done_since_and_draws_on_the_buffer(tmp_path: Path) -> None:
    with views.over(lake_fixture.write_run(tmp_path / "run"), lake_fixture.head()) as con:
        con.register("news", pa.table({"user_id": ["a", "a", "c"], "item_id": ["2", "no such", "1"]}))
        rows = con.execute("select user_id, rank, item_id from recs_live('news') order by user_id, rank").fetchall()
    assert rows == [
        *[("a", 1, "3"), ("a", 2, "10"), ("a", 3, "11")],
        *[("b'; drop", 1, "11"), ("b'; drop", 2, "1"), ("b'; drop", 3, "2")],
        ("c", 1, "2"),
    ]


def _as_float32(spec: schemas.Table, rows: list[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    kinds = [column.type for column in spec.columns]
    for row in rows:
        yield tuple(
            pa.scalar(value, pa.float32()).as_py() if index < len(kinds) and kinds[index] == "float32" else value
            for index, value in enumerate(row)
        )


def _names_and_types(spec: schemas.Table) -> tuple[list[str], list[pa.DataType]]:
    schema = schemas.arrow(spec)
    return schema.names, schema.types


def test_history_reads_the_files_of_the_dates_asked_for_and_no_other(con: duckdb.DuckDBPyConnection) -> None:
    def scans(condition: str) -> int:
        [(_, plan)] = con.execute(f"explain select user_id, title from recommendations_history{condition}").fetchall()
        return str(plan).upper().count("FUNCTION: READ_PARQUET")

    assert scans("") == 2
    assert scans(" where run_date = '2026-03-01'") == 1
    assert scans(" where run_date > date '2026-03-01' and rank = 1") == 1
    assert scans(" where run_date < '2026-01-01'") == 0


def test_recs_for_users_is_recs_for_of_each_of_them_once(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("create temp table asked as from (values ('d'), ('nobody'), ('a'), ('d'), (null)) as u (user_id)")
    found = con.execute("from recs_for_users('asked')").fetchall()
    apart = [con.execute("from recs_for($1)", [user]).fetchall() for user in ("a", "d", "nobody")]
    assert found == [row for rows in apart for row in rows]
