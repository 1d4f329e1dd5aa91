"""Checks that look at the runs before: each is silent over a usual night and says by how much over an unusual one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recbatch import views
from recbatch.config import Audit
from recbatch.contracts import AuditResult, Json
from recbatch.views import Earlier
from recbatch.views._checks import run_check
from recbatch.views._templates import load
from tests.unit import _lake_fixture as lake_fixture

HISTORY = {
    name: file
    for name, file in load("checks").items()
    if set(file.notes.get("needs", "").split()) & {"earlier", "columns", "parent", "lists", "scores"}
}
COLUMNS = {
    "interactions": {"user_id": "string", "item_id": "string", "occurred_at": "timestamp[us]"},
    "items": {"item_id": "string", "title": "string", "year": "int64"},
    "users": {"user_id": "string"},
}
EDGES = [float(n) for n in range(1, 10)]


def night(day: int, **changes: Any) -> Json:
    """The head of a usual run of February 2026: a thousand events more each day, none missing."""
    facts = {
        "events": 100_000 + 1_000 * day,
        "titles": 500,
        "newest_at": f"2026-02-{day - 1:02}T21:00:00",
        "newest_day_events": 1_000,
        "days": {f"2026-02-{n:02}": 1_000 for n in range(1, day)},
        "columns": COLUMNS,
    }
    spread = {"cold_users": 50, "score_edges": EDGES, "score_shares": [0.1] * 10}
    head = {"run_id": f"2026-02-{day:02}.1", "run_date": f"2026-02-{day:02}", "users": 1_000, "k": lake_fixture.K}
    return head | {"input": facts | changes.pop("input", {}), "profile": spread | changes.pop("profile", {})} | changes


USUAL = Earlier(
    nights=[night(day) for day in range(19, 12, -1)],
    users=["a", "b'; drop", "c"],
    items=["1", "2", "3", "10", "11"],
    listed=["1", "2", "3", "10", "11"],
    changes={"users": 100, "compared": 100, "overlap": 0.9, "replaced": 0},
)


def steady(tables: dict[str, list[Any]]) -> None:
    """A score in each of the ten bins, once."""
    first = tables["recommendations"][0]
    tables["recommendations"] = [
        (*first[:1], rank, *first[2:4], 9.5 - (rank - 1), "model", None) for rank in range(1, 11)
    ]
    tables["recommendations"] += [("c", n, *first[2:4], 1.0, "popular", None) for n in range(1, 3)]
    for n, (item, title) in enumerate(lake_fixture.TITLES.items()):
        tables["recommendations"][n] = (
            *tables["recommendations"][n][:2],
            item,
            title,
            *tables["recommendations"][n][4:],
        )


Change = Callable[[dict[str, list[Any]]], None]


def outcome(
    folder: Path,
    check: str,
    tonight: Json,
    earlier: Earlier,
    *,
    settings: Audit | None = None,
    change: Change = lambda tables: None,
) -> AuditResult:
    tables = lake_fixture.tables()
    steady(tables)
    change(tables)
    with views.over(lake_fixture.write_run(folder / "run", tables), tonight) as con:
        views.compare(con, tonight, earlier, settings)
        return run_check(con, HISTORY[check])


TONIGHT = night(20)


def scores(value: Callable[[int], float]) -> Change:
    def change(tables: dict[str, list[Any]]) -> None:
        tables["recommendations"] = [
            (*row[:4], value(row[1]), *row[5:]) if row[5] == "model" else row for row in tables["recommendations"]
        ]

    return change


def newcomers(table: str, *ids: str) -> Change:
    return lambda tables: tables[table].extend((name, *tables[table][0][1:]) for name in ids)


FAULTS: dict[str, tuple[dict[str, Any], Earlier, Change, str, str]] = {
    "input_not_halved": (
        {"input": {"events": 53_550}},
        USUAL,
        lambda tables: None,
        "53,550 events, 1,000 users, 500 titles: 45 % of 2026-02-19.1",
        "at least 50 % of its 119,000 events, 1,000 users, 500 titles (audit.least_kept)",
    ),
    "input_events_not_lost": (
        {"input": {"events": 113_050}},
        USUAL,
        lambda tables: None,
        "113,050 events, 5.0 % fewer",
        "at most 1.0 % fewer than the 119,000 of 2026-02-19.1 (audit.max_events_lost)",
    ),
    "input_newest_day_usual": (
        {"input": {"newest_day_events": 200}},
        USUAL,
        lambda tables: None,
        "200 events on the newest day",
        "333 to 3,000: the usual 1,000 by a factor of 3.0 (audit.volume_factor)",
    ),
    "input_fresh": (
        {"input": {"newest_at": "2026-02-16T12:00:00"}},
        USUAL,
        lambda tables: None,
        "newest event 3.5 days before the run date",
        "at most 1.1: 0.1 in the stalest recent run and 1.0 more (audit.max_staleness_days)",
    ),
    "input_days_without_gap": (
        {"input": {"days": {f"2026-02-{n:02}": 1_000 for n in range(1, 19) if n != 7}}},
        USUAL,
        lambda tables: None,
        "2 days without an event: lost 2026-02-07, empty 2026-02-19",
        "events on every day since the parent run and on every day on which it had some",
    ),
    "input_columns_unchanged": (
        {
            "input": {
                "columns": COLUMNS
                | {"items": {"item_id": "int64", "title": "string"}, "users": {"user_id": "string", "age": "double"}}
            }
        },
        USUAL,
        lambda tables: None,
        "~ items.item_id string -> int64; - items.year int64; + users.age double",
        "the columns and types of the parent run's input",
    ),
    "users_cold_share_usual": (
        {"profile": {"cold_users": 160}},
        USUAL,
        lambda tables: None,
        "16.0 % of the users are cold",
        "at most 15.0 %: the usual 5.0 and 10.0 more (audit.max_cold_rise)",
    ),
    "users_new_share_usual": (
        {},
        USUAL,
        newcomers("users", "d", "e"),
        "2 of 5 users are new: 40.0 %",
        "at most 25.0 % (audit.max_new_users)",
    ),
    "titles_new_share_usual": (
        {},
        replace(USUAL, items=["1", "2", "3"]),
        lambda tables: None,
        "2 of 5 titles are new: 40.0 %",
        "at most 25.0 % (audit.max_new_titles)",
    ),
    "users_still_known": (
        {},
        replace(USUAL, users=[*USUAL.users, "w", "x", "y", "z"]),
        lambda tables: None,
        "3 of 7 users are still known: 42.9 %",
        "at least 50 % (audit.least_kept)",
    ),
    "titles_still_known": (
        {},
        replace(USUAL, items=[*USUAL.items, "12"]),
        lambda tables: None,
        "1 of 6 titles are gone: 16.7 %",
        "at most 10.0 % (audit.max_titles_gone)",
    ),
    "recommendations_titles_usual": (
        {},
        replace(USUAL, listed=["1", "2", "7", "8"]),
        lambda tables: None,
        "3 titles enter the lists and 2 leave them, of 7: 71.4 %",
        "at most 50.0 % (audit.max_listed_titles_changed)",
    ),
    "recommendations_overlap_usual": (
        {},
        replace(USUAL, changes=dict(USUAL.changes, overlap=0.125)),
        lambda tables: None,
        "overlap@k 0.125 over 100 users",
        "at least 0.300 (audit.least_overlap)",
    ),
    "recommendations_not_replaced": (
        {},
        replace(USUAL, changes=dict(USUAL.changes, replaced=6)),
        lambda tables: None,
        "6 of 100 users: 6.0 %",
        "at most 5.0 % (audit.max_replaced)",
    ),
    "recommendations_scores_usual": (
        {},
        USUAL,
        scores(lambda rank: 9.5),
        # One bin holds all: (1 - .1) ln(1 / .1) + 9 · (.05 - .1) ln(.05 / .1); an empty bin counts half a score of ten.
        "population stability index 2.384",
        "at most 0.250 (audit.max_score_shift)",
    ),
}


def test_every_check_that_looks_back_is_tried() -> None:
    assert set(FAULTS) == set(HISTORY)
    errors = {name for name, file in HISTORY.items() if file.notes["severity"] == "error"}
    assert errors == {"input_not_halved", "users_still_known"}


@pytest.mark.parametrize("check", HISTORY)
def test_a_usual_night_passes(tmp_path: Path, check: str) -> None:
    result = outcome(tmp_path, check, TONIGHT, USUAL)
    assert (result.passed, result.observed, result.detail) == (True, "0", None)


@pytest.mark.parametrize("check", FAULTS)
def test_an_unusual_night_is_told_by_how_much(tmp_path: Path, check: str) -> None:
    changes, earlier, change, observed, expected = FAULTS[check]
    result = outcome(tmp_path, check, night(20, **changes), earlier, change=change)
    assert (result.passed, result.observed, result.expected) == (False, observed, expected)


@pytest.mark.parametrize("check", FAULTS)
def test_a_first_night_passes_and_says_that_there_is_nothing_to_compare(tmp_path: Path, check: str) -> None:
    changes, _, change, _, _ = FAULTS[check]
    result = outcome(tmp_path, check, night(20, **changes), Earlier(), change=change)
    assert (result.passed, result.observed) == (True, "not run")
    assert result.detail is not None and result.detail.startswith("no earlier run")


def test_runs_of_a_release_that_kept_no_account_are_nothing_to_compare_the_input_with(tmp_path: Path) -> None:
    old = {key: value for key, value in night(19).items() if key not in ("input", "profile")}
    earlier = replace(USUAL, nights=[old])
    for check in ("input_not_halved", "input_fresh", "input_columns_unchanged", "recommendations_scores_usual"):
        result = outcome(tmp_path / check, check, TONIGHT, earlier)
        assert (result.passed, result.observed) == (True, "not run")
    assert outcome(tmp_path, "users_new_share_usual", TONIGHT, earlier).observed == "0"


@pytest.mark.parametrize(
    ("check", "setting", "value"),
    [
        ("input_not_halved", "least_kept", 0.4),
        ("input_events_not_lost", "max_events_lost", 0.06),
        ("input_newest_day_usual", "volume_factor", 6),
        ("input_fresh", "max_staleness_days", 4),
        ("users_cold_share_usual", "max_cold_rise", 0.2),
        ("users_new_share_usual", "max_new_users", 0.4),
        ("titles_new_share_usual", "max_new_titles", 0.4),
        ("users_still_known", "least_kept", 0.4),
        ("titles_still_known", "max_titles_gone", 0.2),
        ("recommendations_titles_usual", "max_listed_titles_changed", 0.8),
        ("recommendations_overlap_usual", "least_overlap", 0.1),
        ("recommendations_not_replaced", "max_replaced", 0.06),
        ("recommendations_scores_usual", "max_score_shift", 2.4),
    ],
)
def test_every_threshold_is_a_setting(tmp_path: Path, check: str, setting: str, value: float) -> None:
    changes, earlier, change, _, _ = FAULTS[check]
    allowed = Audit.model_validate({setting: value})
    assert outcome(tmp_path, check, night(20, **changes), earlier, settings=allowed, change=change).passed


def test_a_handful_of_events_a_day_says_nothing(tmp_path: Path) -> None:
    few = replace(USUAL, nights=[night(day, input={"newest_day_events": 4}) for day in range(19, 12, -1)])
    assert outcome(tmp_path, "input_newest_day_usual", night(20, input={"newest_day_events": 0}), few).passed


def test_where_nights_ended_in_empty_days_another_one_is_no_gap(tmp_path: Path) -> None:
    days = {f"2026-02-{n:02}": 5 for n in (3, 9)}
    seldom = replace(USUAL, nights=[night(day, input={"days": days}) for day in range(19, 12, -1)])
    assert outcome(tmp_path, "input_days_without_gap", night(20, input={"days": days}), seldom).passed


def test_a_check_of_the_users_own_sees_the_earlier_runs_too(tmp_path: Path) -> None:
    (tmp_path / "extra").mkdir()
    (tmp_path / "extra" / "mine.sql").write_text("select run_id from nights where age > 0 and events < 114000")
    with views.over(lake_fixture.write_run(tmp_path / "run"), TONIGHT) as con:
        views.compare(con, TONIGHT, USUAL)
        [mine] = [result for result in views.run_checks(con, tmp_path / "extra") if result.check == "mine"]
    assert (mine.passed, mine.observed, mine.detail) == (False, "1", '{"run_id":"2026-02-13.1"}')
