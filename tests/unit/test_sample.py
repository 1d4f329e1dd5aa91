# ruff: noqa: DTZ001 (tables hold UTC without a zone)
"""The generated world: the same every time, nested in time, and worth learning from."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from recbatch import sources
from recbatch.config import Source
from recbatch.contracts import SourceTables
from recbatch.errors import DataError, UsageError
from recbatch.sources import sample
from recbatch.sources.sample_world import World, uniforms
from tests.unit._worlds import plain

TODAY = date(2020, 6, 1)


def read(before: date, words: str = "") -> SourceTables:
    return sources.read(Source(uri=f"sample:{words}" if words else "sample"), before=before, today=TODAY)


@pytest.fixture(scope="module")
def first_night() -> SourceTables:
    return read(date(2020, 1, 1))


@pytest.fixture(scope="module")
def years_later() -> SourceTables:
    return read(date(2026, 1, 1))


def test_the_first_night_has_twenty_events_per_user(first_night: SourceTables) -> None:
    assert first_night.users.num_rows == 1000
    assert first_night.items.num_rows == 404
    assert 19_000 <= first_night.interactions.num_rows <= 21_000
    assert first_night.quarantine.num_rows == 0
    assert first_night.counts["after_run_date"] == 0
    assert pc.min(first_night.interactions["occurred_at"]).as_py() >= datetime(2019, 12, 1)


def test_equal_parameters_give_equal_worlds(first_night: SourceTables) -> None:
    again = read(date(2020, 1, 1), "titles=400,users=1000,seed=7")
    assert again.interactions.equals(first_night.interactions)
    assert again.inputs == first_night.inputs
    assert first_night.inputs[0].name == "sample:users=1000,titles=400,seed=7,events_per_user=20,events_per_day=50"
    assert not read(date(2020, 1, 1), "seed=8").interactions.equals(first_night.interactions)
    assert read(date(2020, 1, 2)).inputs[0].sha256 != first_night.inputs[0].sha256


def test_a_later_night_only_adds(first_night: SourceTables, years_later: SourceTables) -> None:
    for name in ("interactions", "items", "users"):
        before, after = getattr(first_night, name), getattr(years_later, name)
        assert plain(after.slice(0, before.num_rows)).equals(plain(before))
    times = years_later.interactions["occurred_at"].slice(first_night.interactions.num_rows)
    assert pc.min(times).as_py() >= datetime(2020, 1, 1)


def test_the_size_of_the_pieces_does_not_show(first_night: SourceTables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "_EVENTS_PER_CHUNK", 1_500)
    steps: list[tuple[str, int, int]] = []
    source, night = Source(uri="sample"), date(2020, 1, 1)
    piecewise = sources.read(source, before=night, today=TODAY, progress=lambda *step: steps.append(step))
    assert piecewise.interactions.equals(first_night.interactions)
    assert len(steps) > 10
    assert steps[-1] == ("sample", 31, 31)


def test_events_stand_in_order_of_time(years_later: SourceTables) -> None:
    times = np.asarray(years_later.interactions["occurred_at"]).astype(np.int64)
    assert (np.diff(times) >= 0).all()


@pytest.mark.parametrize("year", [2020, 2026, 2090])
def test_every_run_date_has_a_yesterday_and_two_busy_weeks(year: int) -> None:
    before = date(year, 2, 1)
    interactions = read(before).interactions
    days = interactions["occurred_at"].cast("date32")
    assert pc.max(days).as_py() == before - timedelta(days=1)
    recent = interactions.filter(pc.greater_equal(days, before - timedelta(days=14)))
    assert len(pc.unique(recent["user_id"])) >= 250


def test_the_default_stays_small(years_later: SourceTables) -> None:
    assert years_later.interactions.num_rows <= 150_000
    assert years_later.users.num_rows == 3505
    assert years_later.items.num_rows == 717


def test_users_and_titles_arrive_before_they_act() -> None:
    whole = read(date(2020, 3, 1))
    first_of = whole.interactions.group_by("user_id").aggregate([("occurred_at", "min")])
    for before in (date(2019, 12, 2), date(2019, 12, 20), date(2020, 2, 1)):
        then = read(before)
        known = set(then.users["user_id"].to_pylist())
        acted = first_of.filter(pc.less(first_of["occurred_at_min"], datetime.combine(before, datetime.min.time())))
        assert set(acted["user_id"].to_pylist()) <= known
        assert set(then.interactions["item_id"].to_pylist()) <= set(then.items["item_id"].to_pylist())


def test_every_week_brings_newcomers() -> None:
    world, week = World(), np.arange(31, 31 + 52 * 7, 7)
    assert (np.diff(world.users_by(week)) >= 7).all()
    assert (np.diff(world.titles_by(week)) >= 1).all()
    appeared = world.day_of_title(int(world.titles_by(700)))
    for day in (0, 6, 7, 8, 350, 700):
        assert (appeared <= day).sum() == world.titles_by(day)


def test_ids_have_zeros_and_titles_are_unique_and_readable(years_later: SourceTables) -> None:
    assert years_later.users["user_id"][11].as_py() == "0000012"
    titles = years_later.items["title"].to_pylist()
    assert len(set(titles)) == len(titles)
    assert titles[0] == "Silent Harbour (1997)"
    assert sum(not title.isascii() for title in titles) > 100
    assert years_later.items.schema.names == ["item_id", "title", "genres", "year"]
    assert all(years_later.items["genres"].to_pylist())
    assert years_later.users.schema.names == ["user_id", "gender", "age_band", "occupation"]
    assert years_later.users["gender"].to_pylist().count("F") == pytest.approx(1752, abs=100)


def test_ten_thousand_titles_are_unique_too() -> None:
    titles = read(date(2019, 12, 2), "titles=10000,users=10").items["title"].to_pylist()
    assert len(set(titles)) == 10_000


def recalls(tables: SourceTables, held_out_from: datetime) -> dict[str, float]:
    """Recall@10 of three simple lists on the held-out events of users with a history; seen titles left out."""
    users, items = (
        np.asarray(pc.index_in(tables.interactions[name], value_set=listed[name].combine_chunks()))
        for name, listed in (("user_id", tables.users), ("item_id", tables.items))
    )
    train = np.asarray(pc.less(tables.interactions["occurred_at"], held_out_from))
    seen = np.zeros((tables.users.num_rows, tables.items.num_rows), bool)
    seen[users[train], items[train]] = True
    order = np.lexsort((np.arange(len(users)), users))[train[np.lexsort((np.arange(len(users)), users))]]
    follows = np.zeros((seen.shape[1],) * 2)
    for gap in range(1, 6):
        same = users[order[gap:]] == users[order[:-gap]]
        np.add.at(follows, (items[order[:-gap]][same], items[order[gap:]][same]), 1 / gap)
    popular = np.bincount(items[train], minlength=seen.shape[1]).astype(float)
    chance = np.random.default_rng(0)
    found: dict[str, list[float]] = {"chance": [], "popular": [], "history": []}
    for user in np.unique(users[~train]):
        wanted = np.setdiff1d(items[~train & (users == user)], np.flatnonzero(seen[user]))
        last = items[order[users[order] == user]][-5:]
        if len(wanted) == 0 or len(last) == 0:
            continue
        scores: dict[str, Any] = {"chance": chance.random(len(popular)), "popular": popular}
        scores["history"] = follows[last].sum(axis=0)
        for name, score in scores.items():
            top = np.argsort(-np.where(seen[user], -1, score), kind="stable")[:10]
            found[name].append(len(np.intersect1d(top, wanted)) / len(wanted))
    return {name: float(np.mean(values)) for name, values in found.items()}


def test_histories_tell_more_than_popularity_and_popularity_more_than_chance(first_night: SourceTables) -> None:
    recall = recalls(first_night, datetime(2019, 12, 31))
    assert recall["popular"] > 3 * recall["chance"]
    assert recall["history"] > 2 * recall["popular"]


def test_features_go_with_taste(first_night: SourceTables) -> None:
    """First titles of new users: those of their gender and age band are a better guess than everybody's."""
    joined = first_night.interactions.join(first_night.users, "user_id")
    groups = pc.binary_join_element_wise(joined["gender"], joined["age_band"], "/").to_numpy()
    items = joined["item_id"].to_numpy()
    early = joined["occurred_at"].to_numpy() < np.datetime64("2019-12-15")
    known = set(joined["user_id"].filter(early).to_pylist())
    cold = ~early & ~np.isin(joined["user_id"].to_numpy(), list(known))

    def top(rows: Any) -> list[str]:
        names, counts = np.unique(items[rows], return_counts=True)
        return list(names[np.argsort(-counts, kind="stable")[:20]])

    everybody = np.isin(items[cold], top(early)).mean()
    segment = np.mean([item in top_of for item, top_of in _with_tops(items, groups, early, cold, top)])
    assert segment > 1.2 * everybody


def _with_tops(items: Any, groups: Any, early: Any, cold: Any, top: Any) -> list[tuple[str, list[str]]]:
    tops = {group: top(early & (groups == group)) for group in np.unique(groups)}
    return [(item, tops[group]) for item, group in zip(items[cold], groups[cold], strict=True)]


def test_small_worlds_work() -> None:
    tables = read(date(2020, 1, 1), "users=1,titles=10,seed=0")
    assert tables.users["user_id"].to_pylist() == ["0000001"]
    assert tables.interactions.num_rows > 5
    assert read(date(2020, 3, 1), "users=3,titles=11,events_per_day=1").items.num_rows == 11


def test_a_run_date_before_the_world_and_wrong_words_are_refused() -> None:
    with pytest.raises(DataError, match="nothing happens before 2019-12-02; use a later --run-date"):
        read(date(2019, 12, 1))
    with pytest.raises(UsageError, match=r"unknown parameter user; did you mean users\?"):
        read(TODAY, "user=10")
    with pytest.raises(UsageError, match="users takes a number, not 'many'"):
        read(TODAY, "users=many")
    with pytest.raises(UsageError, match="titles must lie between 10 and 1e\\+07"):
        read(TODAY, "titles=1")
    with pytest.raises(UsageError, match="events_per_user must lie between"):
        read(TODAY, "events_per_user=nan")


def test_uniforms_are_even_and_independent() -> None:
    day, number = (grid.ravel() for grid in np.meshgrid(np.arange(300), np.arange(300)))
    values = uniforms(7, "test", day, number)
    assert values.min() >= 0
    assert values.max() < 1
    assert np.histogram(values, 10, (0, 1))[0] == pytest.approx(9000, abs=400)
    assert abs(np.corrcoef(values, uniforms(7, "other", day, number))[0, 1]) < 0.02
    assert abs(np.corrcoef(values, uniforms(8, "test", day, number))[0, 1]) < 0.02
    assert len(np.unique(values)) == 90_000
