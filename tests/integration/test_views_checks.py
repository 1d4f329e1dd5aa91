"""Every check passes on a sound run and fails on a run with one planted fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recbatch import views
from recbatch.contracts import AuditResult
from recbatch.errors import DataError, InputMissing
from recbatch.views import _templates
from recbatch.views._checks import run_check
from tests.unit import _lake_fixture as lake_fixture
from tests.unit._lake_fixture import RULES, SEEN

from .test_views_earlier import HISTORY

Tables = dict[str, list[tuple[Any, ...]]]
Change = Callable[[Tables], None]


def put(table: str, row: int, **values: Any) -> Change:
    """Changes columns of one row."""
    names = [c.name for c in next(t for t in lake_fixture.schemas.RUN_TABLES if t.name == table).columns]

    def change(tables: Tables) -> None:
        cells = list(tables[table][row])
        for name, value in values.items():
            cells[names.index(name)] = value
        tables[table][row] = tuple(cells)

    return change


def drop(table: str, *rows: int) -> Change:
    """Removes rows."""
    return lambda tables: tables.update({table: [r for n, r in enumerate(tables[table]) if n not in rows]})


def swap(table: str, one: int, other: int) -> Change:
    """Exchanges two rows."""

    def change(tables: Tables) -> None:
        rows = tables[table]
        rows[one], rows[other] = rows[other], rows[one]

    return change


def every(table: str, **values: Any) -> Change:
    """Changes columns of all rows."""
    return lambda tables: [put(table, n, **values)(tables) for n in range(len(tables[table]))] and None


def empty(*names: str) -> Change:
    """Leaves tables without rows."""
    return lambda tables: tables.update({name: [] for name in names})


def one_list_for_all(tables: Tables) -> None:
    a = [row for row in tables["recommendations"] if row[0] == "a"]
    tables["recommendations"] = [(user, *row[1:]) for user in ("a", "b'; drop", "c") for row in a]


def many_items(tables: Tables) -> None:
    tables["items"] += [(f"x{n}", f"X {n}", None, 0, None, None, True, 2000) for n in range(500)]


def swap_items(tables: Tables) -> None:
    put("recommendations", 1, item_id="10", title="-- Dune")(tables)
    put("recommendations", 2, item_id="3", title="Élan; it's")(tables)


MUTATIONS: dict[str, list[Change]] = {
    "users_exist": [empty("users")],
    "users_unique_and_sorted": [
        swap("users", 0, 1),
        put("users", 1, user_id="a"),
        put("users", 0, user_id=""),
        put("users", 0, user_id=None),
    ],
    "users_status_known": [put("users", 0, status="lukewarm"), put("users", 0, status=None)],
    "users_recommended_is_counted": [
        put("users", 0, recommended=2),
        put("users", 0, recommended=None),
        drop("recommendations", 6, 7),
    ],
    "users_shortfall_has_a_reason": [
        put("users", 2, shortfall_reason=None),
        put("users", 2, shortfall_reason=""),
        put("users", 0, shortfall_reason="none"),
        put("users", 0, recommended=4),
    ],
    "recommendations_of_known_users": [drop("users", 1), put("recommendations_buffer", 0, user_id="ghost")],
    "recommendations_sorted": [put("recommendations", 7, user_id="a")],
    "recommendations_ranks_gapless": [
        put("recommendations", 2, rank=4),
        put("recommendations", 1, rank=1),
        put("recommendations", 0, rank=0),
        put("recommendations", 0, rank=None),
        swap("recommendations", 0, 1),
    ],
    "recommendations_no_padding": [
        put("recommendations", 2, user_id=""),
        put("recommendations", 2, rank=None),
        put("recommendations", 2, item_id=None),
        put("recommendations", 2, item_id=""),
        put("recommendations", 2, title=None),
        put("recommendations", 2, score=None),
        put("recommendations", 2, source=None),
        put("recommendations_buffer", 0, item_id=None),
    ],
    "recommendations_items_unique": [
        put("recommendations", 2, item_id="2"),
        put("recommendations", 1, item_id="2"),
        put("recommendations_buffer", 0, item_id="10"),
        lambda tables: tables["recommendations_buffer"].append(("a", 5, "11", "東京物語", 1.0, "model", None)),
    ],
    "recommendations_items_resolvable": [
        put("recommendations", 2, item_id="99"),
        put("recommendations", 2, title="Dune"),
        put("recommendations_buffer", 0, item_id="99"),
        drop("items", 3),
    ],
    "recommendations_scores_finite": [
        put("recommendations", 2, score=float("nan")),
        put("recommendations", 2, score=float("-inf")),
        put("recommendations", 2, score=None),
        put("recommendations_buffer", 0, score=float("inf")),
    ],
    "recommendations_scores_descend": [put("recommendations", 1, score=9.5), put("recommendations", 7, score=9.5)],
    "recommendations_ties_by_item_id": [swap_items, put("recommendations", 1, score=9.0, item_id="1")],
    "recommendations_sources_in_order": [
        put("recommendations", 0, source="popular"),
        put("recommendations", 0, source="magic"),
        put("recommendations", 5, source="pinned"),
        put("recommendations", 4, source=None),
    ],
    "recommendations_not_seen": [put("recommendations", 0, item_id="1"), put("recommendations_buffer", 0, item_id="1")],
    "recommendations_because_resolvable": [
        put("recommendations", 0, because_item_id="99"),
        put("recommendations_buffer", 0, because_item_id=""),
    ],
    "recommendations_because_in_history": [
        put("recommendations", 0, because_item_id="3"),
        put("recommendations", 6, because_item_id="1"),
        put("recommendations_buffer", 0, because_item_id="3"),
    ],
    "buffer_continues_the_list": [
        put("recommendations_buffer", 0, rank=3),
        put("recommendations_buffer", 0, rank=5),
        put("recommendations_buffer", 0, user_id="c"),
        lambda tables: tables["recommendations_buffer"].append(("a", 6, "1", "Alien (1979)", 1.0, "model", None)),
    ],
    "buffer_scores_descend": [
        put("recommendations_buffer", 0, score=7.5),
        put("recommendations_buffer", 0, source="pinned"),
        lambda tables: tables["recommendations_buffer"].append(("a", 5, "1", "Alien (1979)", 4.0, "model", None)),
    ],
    "popular_segment_all_exists": [empty("popular"), drop("popular", 0, 1, 2, 3, 4)],
    "popular_ranks_gapless": [
        put("popular", 1, rank=3),
        put("popular", 5, rank=2),
        put("popular", 5, segment=None),
        swap("popular", 0, 1),
    ],
    "popular_items_unique": [put("popular", 1, item_id="1")],
    "popular_items_resolvable": [
        put("popular", 1, item_id="99"),
        put("popular", 1, title="?"),
        put("popular", 1, score=float("nan")),
    ],
    "items_unique": [put("items", 1, item_id="1"), put("items", 1, item_id=None), put("items", 1, item_id="")],
    "similar_items_ranks_gapless": [put("similar_items", 1, rank=3), put("similar_items", 2, rank=0)],
    "similar_items_resolvable": [
        put("similar_items", 0, similar_item_id="99"),
        put("similar_items", 0, similar_title="?"),
        put("similar_items", 2, item_id="99"),
        put("similar_items", 2, similar_item_id="2", similar_title="Brazil (1985)"),
        put("similar_items", 0, score=float("nan")),
    ],
    "metrics_agree_with_holdout": [
        put("metrics", 0, value=0.4),
        put("metrics", 0, users=3),
        put("holdout", 1, rank=3),
    ],
    "metrics_sound": [
        put("metrics", 0, value=float("nan")),
        put("metrics", 0, value=0.8),
        put("metrics", 0, ci_low=0.6),
        put("metrics", 0, ci_high=None),
        put("metrics", 0, users=-1),
    ],
    "holdout_users_known": [put("holdout", 0, user_id="ghost")],
    "holdout_exists": [empty("holdout")],
    "users_mostly_not_cold": [put("users", 0, status="cold")],
    "catalogue_is_covered": [many_items],
    "lists_differ": [one_list_for_all],
    "rules_denied_stay_out": [put("recommendations", 0, item_id="1"), put("recommendations_buffer", 0, item_id="1")],
    "rules_ineligible_stay_out": [
        put("recommendations", 0, item_id="99"),
        put("recommendations_buffer", 0, item_id="99"),
        put("popular", 0, item_id="99"),
        put("similar_items", 0, similar_item_id="99"),
    ],
    "rules_caps_hold": [put("recommendations", 0, item_id="1"), put("recommendations_buffer", 0, item_id="1")],
    "rules_pins_come_first": [
        put("recommendations", 3, item_id="2"),
        put("recommendations", 3, source="model"),
        put("recommendations", 0, source="pinned"),
        lambda tables: (
            put("recommendations", 3, item_id="10")(tables)
            or put("recommendations", 4, item_id="11", source="pinned")(tables)
        ),
    ],
}
CASES = [
    pytest.param(name, change, id=f"{name}-{n}")
    for name, changes in MUTATIONS.items()
    for n, change in enumerate(changes)
]


def outcome(
    folder: Path, changes: Change | None = None, *, seen: pa.Table | None = SEEN, rules: Any = RULES, **head: Any
) -> dict[str, AuditResult]:
    tables = lake_fixture.tables()
    if changes:
        changes(tables)
    lake_fixture.write_run(folder, tables)
    with views.over(folder, lake_fixture.head(**head), seen=seen, rules=rules) as con:
        return {result.check: result for result in views.run_checks(con)}


def test_a_sound_run_passes_every_check(tmp_path: Path) -> None:
    results = outcome(tmp_path / "run")
    assert {name: r.detail for name, r in results.items() if not r.passed} == {}
    assert {r.observed for name, r in results.items() if name in MUTATIONS} == {"0"}


def test_every_check_of_a_run_by_itself_has_a_planted_fault() -> None:
    assert set(MUTATIONS) == set(_templates.load("checks")) - set(HISTORY)


@pytest.mark.parametrize(("check", "change"), CASES)
def test_a_planted_fault_is_found(tmp_path: Path, check: str, change: Change) -> None:
    tables = lake_fixture.tables()
    change(tables)
    with views.over(
        lake_fixture.write_run(tmp_path / "run", tables), lake_fixture.head(), seen=SEEN, rules=RULES
    ) as con:
        result = run_check(con, _templates.load("checks")[check])
    assert not result.passed
    assert result.observed is not None and int(result.observed) >= 1
    assert result.detail is not None and result.detail.startswith("{")


def test_only_the_four_opinions_are_warnings() -> None:
    files = _templates.load("checks")
    warnings = {name for name in MUTATIONS if files[name].notes["severity"] == "warn"}
    assert warnings == {"holdout_exists", "users_mostly_not_cold", "catalogue_is_covered", "lists_differ"}


@pytest.mark.parametrize("split", [1, 2, 3])
def test_order_holds_across_files(tmp_path: Path, split: int) -> None:
    folder = lake_fixture.write_run(tmp_path / "run", split=split)
    with views.over(folder, lake_fixture.head(), seen=SEEN) as con:
        assert [r.check for r in views.run_checks(con) if not r.passed] == []


def test_without_rules_their_checks_are_not_run_and_what_was_seen_outside_the_window_may_come_back(
    tmp_path: Path,
) -> None:
    old = SEEN.append_column("barred", [[False, True]])
    results = outcome(tmp_path / "run", put("recommendations", 0, item_id="1"), seen=old, rules=None)
    assert results["recommendations_not_seen"].passed
    skipped = {name for name, result in results.items() if result.detail == "no rules were given"}
    assert skipped == {name for name in results if name.startswith("rules_")}


def test_what_was_found_is_counted_and_the_first_shown(tmp_path: Path) -> None:
    result = outcome(tmp_path / "run", every("recommendations", title="?"))["recommendations_items_resolvable"]
    assert result == AuditResult(
        "recommendations_items_resolvable",
        "error",
        False,
        "8",
        "item_id and title as in items",
        '{"user_id":"a","rank":1,"item_id":"2","title":"?","title_in_items":"Brazil (1985)"}',
    )


def test_without_histories_what_needs_them_is_not_run_and_says_so(tmp_path: Path) -> None:
    results = outcome(tmp_path / "run", put("recommendations", 0, item_id="1"), seen=None)
    skipped = {name: r.detail for name, r in results.items() if r.observed == "not run" and name not in HISTORY}
    assert skipped == dict.fromkeys(
        ["recommendations_not_seen", "recommendations_because_in_history"], "no histories were given"
    )


def test_where_seen_titles_are_kept_only_the_reasons_are_held_against_the_history(tmp_path: Path) -> None:
    results = outcome(tmp_path / "run", put("recommendations", 0, because_item_id="3"), keep_seen=True)
    assert results["recommendations_not_seen"].detail == "seen titles are kept"
    assert not results["recommendations_because_in_history"].passed


def run_extra(folder: Path, text: str | bytes, name: str = "mine") -> dict[str, AuditResult]:
    run = lake_fixture.write_run(folder / "run")
    (folder / "extra").mkdir()
    (folder / "extra" / f"{name}.sql").write_bytes(text if isinstance(text, bytes) else text.encode())
    with views.over(run, lake_fixture.head()) as con:
        return {result.check: result for result in views.run_checks(con, folder / "extra")}


@pytest.mark.parametrize("end", ["", ";", "; -- done", " -- done", "\n;\n"])
def test_a_check_of_the_users_own_runs_beside_ours(tmp_path: Path, end: str) -> None:
    text = f"-- severity: warn\n-- expected: nobody called c\nselect user_id from users where user_id = 'c'{end}"
    found = run_extra(tmp_path, text)["mine"]
    assert found == AuditResult("mine", "warn", False, "1", "nobody called c", '{"user_id":"c"}')


def test_a_check_without_a_comment_is_an_error_check(tmp_path: Path) -> None:
    assert run_extra(tmp_path, "from users where false")["mine"] == AuditResult("mine", "error", True, "0", "no rows")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("selec 1", "syntax error"),
        ("", "one SELECT"),
        ("-- nothing", "one SELECT"),
        ("select 1; select 2", "one SELECT"),
        ("drop view users", "one SELECT"),
        ("copy users to 'x.csv'", "one SELECT"),
        ("explain analyze copy users to 'x.csv'", "one SELECT"),
        ("select 1) as x; drop view users; select (1", "syntax error"),
        ("select * from no_such_view", "no_such_view"),
        ("select user_id::int from users", "Could not convert"),
        ("select * from read_csv('/etc/passwd')", "disabled by configuration"),
        ("-- severity: fatal\nselect 1", "severity 'fatal'"),
        (b"select '\xff'", "UTF-8"),
    ],
)
def test_a_check_that_cannot_run_is_named_with_its_cure(tmp_path: Path, text: str | bytes, complaint: str) -> None:
    with pytest.raises(DataError) as error:
        run_extra(tmp_path, text)
    message = str(error.value)
    assert complaint in message and "extra" in message and "\n" not in message
    assert (
        message.rsplit("; ", maxsplit=1)[-1].startswith(("correct", "save", "write", "remove"))
        or "remove the rest" in message
    )


def test_a_check_may_not_shadow_one_of_ours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"users_exist\.sql.*rename"):
        run_extra(tmp_path, "select 1", "users_exist")


def test_a_missing_folder_of_checks_is_named(tmp_path: Path) -> None:
    run = lake_fixture.write_run(tmp_path / "run")
    with views.over(run, lake_fixture.head()) as con, pytest.raises(InputMissing, match=r"audit\.extra_checks"):
        views.run_checks(con, tmp_path / "nowhere")
