"""The input of many dates: read once, and every date gets what it would have got alone."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from recbatch.jobs._input import Input
from recbatch.jobs._say import Say

from recbatch import config, publish, sources
from recbatch.store import Lake

DAYS = [date(2024, 5, 1) + timedelta(days=at) for at in range(4)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    lake.create()
    (tmp_path / "items.csv").write_text("item_id,title\n7,Heat\n8,Ran\n")
    (tmp_path / "interactions").mkdir()
    for day in DAYS:
        rows = "".join(f"{user},{7 + user % 2},{day}T10:00:00\n" for user in range(5))
        (tmp_path / "interactions" / f"{day}.csv").write_text(f"user_id,item_id,occurred_at\n{rows}")
    return lake


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[date]:
    """The run dates for which the source was read."""
    found: list[date] = []
    read = sources.read

    def counted(*source: object, before: date, **how: object) -> object:
        found.append(before)
        return read(*source, before=before, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(sources, "read", counted)
    return found


@pytest.mark.parametrize(
    ("uri", "budget", "read_for"),
    [
        ("files:{}", "4GiB", [DAYS[3]]),
        ("files:{}", "1KiB", [DAYS[3], DAYS[3], DAYS[3]]),
        ("sample:users=20,titles=20,seed=1", "4GiB", DAYS[1:]),
    ],
    ids=["once", "too large to hold", "made to the date"],
)
def test_many_dates_get_what_each_would_have_got_alone(
    lake: Lake, readings: list[date], uri: str, budget: str, read_for: list[date]
) -> None:
    overrides = {"source.uri": uri.format(lake.root.parent), "score.memory_budget": budget}
    settings = config.load(overrides=overrides)
    publish.remember(lake, "3")
    many = Input(settings, DAYS[3])
    with Say() as say:
        together = [many.before(lake, day, say) for day in DAYS[1:]]
        assert readings == read_for
        for day, tables in zip(DAYS[1:], together, strict=True):
            assert Input(settings, day).before(lake, day, say) == tables
    assert all("3" not in tables.interactions["user_id"].to_pylist() for tables in together)
