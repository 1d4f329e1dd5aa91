"""Fashion: shares of tomorrow learned from the days before, and what they change in a trained model."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from recbatch import _compiling
from recbatch.config import Popular
from recbatch.score import by_popularity, fashion, tomorrow, trend
from recbatch.score.trend import HALF_LIVES_DAYS, _Log

from ._worlds import RUN_DATE, build

TITLES = {str(n): f"t{n}" for n in range(5)}


def world(shares_of_day, days=40, per_day=60):
    """Events drawn day by day from shares that depend on the day; the last day is the one before the run date."""
    generator = np.random.default_rng(0)
    events = []
    for back in range(days, 0, -1):
        for item in generator.choice(5, size=per_day, p=shares_of_day(back)):
            events.append((f"u{generator.integers(50):02}", str(item), back - 0.5))
    return build(events, TITLES)


def test_shares_sum_to_one_and_every_title_has_some():
    data = build([("a", "1", 1), ("b", "1", 2), ("a", "2", 3)], TITLES)
    shares = tomorrow(data.events, 5, RUN_DATE)
    assert shares.sum() == pytest.approx(1)
    assert (shares > 0).all()
    assert shares[1] > shares[2] > shares[0] == shares[3]


def test_a_steady_world_is_forecast_by_all_its_events_and_a_fast_one_by_yesterday():
    steady = np.array([0.4, 0.3, 0.2, 0.05, 0.05])
    data = world(lambda back: steady)
    np.testing.assert_allclose(tomorrow(data.events, 5, RUN_DATE), steady, atol=0.03)
    hits = np.eye(5) * 0.9 + 0.02
    # Every title is the hit of four days in a row; on the last two days it was title 3, so it will be for two more.
    data = world(lambda back: hits[(3 - (back + 1) // 4) % 5])
    assert tomorrow(data.events, 5, RUN_DATE).argmax() == 3
    assert tomorrow(data.events, 5, RUN_DATE)[3] > 0.5


def log_of(events, titles=5):
    return _Log(events.occurred_at, events.items, events.weights, titles)


def test_counts_are_halved_by_age():
    data = build([("a", "1", 0.5), ("a", "1", 10.5), ("b", "2", 3.5)], TITLES)
    today = int(np.datetime64(RUN_DATE, "D").astype(int))
    log = log_of(data.events)
    for half_life in HALF_LIVES_DAYS:
        now, before = log.morning(today, half_life), log.morning(today - 5, half_life)
        assert now[1] == pytest.approx(2 ** (-0.5 / half_life) + 2 ** (-10.5 / half_life))
        assert now[2] == pytest.approx(2 ** (-3.5 / half_life))
        assert before[1] == pytest.approx(2 ** (-5.5 / half_life))
        assert before[2] == 0


@pytest.mark.parametrize("compiled", [False, True])
def test_events_that_weigh_nothing_are_as_good_as_not_there(compiled, monkeypatch):
    monkeypatch.setattr(_compiling, "is_due", lambda operations: compiled)
    people = world(lambda back: np.array([0.4, 0.3, 0.2, 0.05, 0.05]), per_day=20)
    rows = [(f"u{user:02}", str(item), 60.5) for user, item in zip(range(5), range(5), strict=True)]
    rows += [("machine", "4", back - 0.25) for back in range(45, 0, -1) for _ in range(200)]  # on days of its own too
    days = (people.events.occurred_at - int(np.datetime64(RUN_DATE, "us").astype(int))) / -86_400e6
    users = people.user_ids.to_pylist()
    rows += [
        (users[user], str(item), day)
        for user, item, day in zip(people.events.users_of_events(), people.events.items, days, strict=True)
    ]
    data = build(rows, TITLES)
    data = replace(data, inhuman=np.array([user == "machine" for user in data.user_ids.to_pylist()]))
    assert data.has_human(data.events)
    assert not replace(data, inhuman=~np.zeros_like(data.inhuman)).has_human(data.events)
    silent, gone = data.counted(data.events), data.human(data.events)
    assert len(silent.items) > len(gone.items)
    for half_life in (None, 3.0):
        found = [tomorrow(events, 5, RUN_DATE, half_life) for events in (silent, gone, data.events)]
        assert found[0].tobytes() == found[1].tobytes() != found[2].tobytes()
    untimed = replace(silent, occurred_at=np.where(silent.weights > 0, np.iinfo(np.int64).min, silent.occurred_at))
    assert untimed.occurred_at.max() > 0
    assert (
        tomorrow(untimed, 5, RUN_DATE).tobytes() == tomorrow(untimed.without_users(data.inhuman), 5, RUN_DATE).tobytes()
    )
    assert people.counted(people.events) is people.events, "nobody is flagged"


@pytest.mark.parametrize("at_a_time", [1, 100, 10_000])
@pytest.mark.parametrize("half_lives", [HALF_LIVES_DAYS, (3.0,), (1.0, 2.0, 5.0, 10.0, 20.0)])
def test_compiled_counts_equal_numpys_in_every_bit(at_a_time, half_lives, monkeypatch):
    monkeypatch.setattr(trend, "_AT_A_TIME", at_a_time)
    data = world(lambda back: np.array([0.4, 0.3, 0.2, 0.05, 0.05]))
    log = replace(
        log_of(data.events), weights=np.random.default_rng(1).random(len(data.events.items)).astype(np.float32)
    )
    day, found = int(np.datetime64(RUN_DATE, "D").astype(int)) - 3, []
    for compiled in (False, True):
        monkeypatch.setattr(_compiling, "is_due", lambda operations, compiled=compiled: compiled)
        found.append(log.mornings(day, half_lives))
    assert found[0].tobytes() == found[1].tobytes()
    assert (found[0] > 0).any()


def test_the_half_life_is_that_of_the_best_lists_of_the_latest_mornings():
    """Against a plain twin that counts anew on every morning."""
    generator = np.random.default_rng(4)
    events = []
    for back in range(50, 0, -1):
        odds = 1.0 / (1 + (np.arange(60) - (50 - back) * 3) % 60)
        for item in generator.choice(60, size=40, p=odds / odds.sum()):
            events.append((f"u{generator.integers(80):02}", str(item), back - generator.random()))
    data = build(events, {str(n): f"t{n}" for n in range(60)})
    log, day = log_of(data.events, 60), data.events.occurred_at // 86_400_000_000
    met = []
    for half_life in HALF_LIVES_DAYS:
        gain = 0.0
        for morning in np.unique(day)[1:][-30:]:
            top = np.argsort(-log.morning(int(morning), half_life), kind="stable")[:10]
            today = np.bincount(data.events.items[day == morning], minlength=60)
            gain += (today[top] / np.log2(np.arange(2, 12))).sum()
        met.append(gain)
    assert log.half_life() == HALF_LIVES_DAYS[int(np.argmax(met))] < 16
    until = int(np.datetime64(RUN_DATE, "D").astype(int)) + 3  # nothing happened for some days
    np.testing.assert_allclose(log.learned(until), log.morning(until, log.half_life()), rtol=1e-12)
    few = data.events.where(day >= np.unique(day)[-2])
    assert log_of(few, 60).half_life() == 32
    np.testing.assert_array_equal(log_of(few, 60).learned(until), log_of(few, 60).morning(until, 32))


def test_nothing_on_or_after_the_day_is_looked_at():
    data = world(lambda back: np.full(5, 0.2))
    earlier = RUN_DATE - timedelta(days=10)
    boundary = int(np.datetime64(earlier, "us").astype(np.int64))
    past = data.events.where(data.events.occurred_at < boundary)
    shares = tomorrow(past, 5, earlier)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_array_equal(shares, tomorrow(past, 5, earlier))


def test_a_half_life_that_is_given_is_taken_and_none_is_learned():
    hits = np.eye(5) * 0.9 + 0.02
    data = world(lambda back: hits[(3 - (back + 1) // 4) % 5])
    shares, learned = [tomorrow(data.events, 5, RUN_DATE, days) for days in (1, 30)], tomorrow(data.events, 5, RUN_DATE)
    assert shares[0][3] > 2 * shares[1][3], "the long one remembers the hits before"
    assert np.abs(learned - shares[1]).max() > 0.1
    popular = by_popularity(data, data.events, RUN_DATE, Popular(overall_half_life_days=30))
    np.testing.assert_array_equal(popular.shares, shares[1])


def test_without_times_shares_are_plain_and_fashion_is_nothing():
    data = build([("a", "1", None), ("b", "1", None), ("a", "2", None)], TITLES)
    shares = tomorrow(data.events, 5, date(2024, 1, 1))
    assert shares[1] == pytest.approx(2.5 / 5.5)
    assert (fashion(shares, data.events) == 0).all()


def test_fashion_is_the_log_ratio_of_shares_now_and_then():
    data = build([("a", "1", 9), ("b", "1", 8), ("a", "2", 7)], TITLES)
    shares = np.array([0.1, 0.3, 0.3, 0.2, 0.1], dtype=np.float32)
    then = np.array([0.5, 2.5, 1.5, 0.5, 0.5]) / 5.5
    np.testing.assert_allclose(fashion(shares, data.events), np.log(shares / then), rtol=1e-5)
