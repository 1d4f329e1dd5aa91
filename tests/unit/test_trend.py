"""Fashion: shares of tomorrow learned from the days before, and what they change in a trained model."""

from datetime import date, timedelta

import numpy as np
import pytest

from recbatch.score import fashion, tomorrow
from recbatch.score.trend import HALF_LIVES_DAYS, _fit, _Log, _shares

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


def test_features_are_counts_halved_by_age():
    data = build([("a", "1", 0.5), ("a", "1", 10.5), ("b", "2", 3.5)], TITLES)
    day = data.events.occurred_at // 86_400_000_000
    order = np.argsort(day, kind="stable")
    log = _Log(day[order], data.events.items[order], np.ones(3), 5)
    today = int(np.datetime64(RUN_DATE, "D").astype(int))
    found = np.exp(log.features(np.array([today - 5, today]))) - 0.05
    for row, half_life in enumerate(HALF_LIVES_DAYS):
        assert found[row, 1, 1] == pytest.approx(2 ** (-0.5 / half_life) + 2 ** (-10.5 / half_life))
        assert found[row, 1, 2] == pytest.approx(2 ** (-3.5 / half_life))
        assert found[row, 0, 1] == pytest.approx(2 ** (-5.5 / half_life))
        assert found[row, 0, 2] == pytest.approx(0, abs=1e-12)


def test_the_fit_finds_the_weights_that_made_the_data():
    generator = np.random.default_rng(1)
    features = generator.normal(size=(len(HALF_LIVES_DAYS), 30, 200))
    true = np.array([0.5, -0.2, 0.3, 0.8, 0.0, 0.1])
    counts = np.stack([generator.multinomial(5_000, share) for share in _shares(features, true)])
    np.testing.assert_allclose(_fit(features, counts.astype(float)), true, atol=0.03)


def test_nothing_on_or_after_the_day_is_looked_at():
    data = world(lambda back: np.full(5, 0.2))
    earlier = RUN_DATE - timedelta(days=10)
    boundary = int(np.datetime64(earlier, "us").astype(np.int64))
    past = data.events.where(data.events.occurred_at < boundary)
    shares = tomorrow(past, 5, earlier)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_array_equal(shares, tomorrow(past, 5, earlier))


def test_without_times_shares_are_plain_and_fashion_is_nothing():
    data = build([("a", "1", None), ("b", "1", None), ("a", "2", None)], TITLES)
    shares = tomorrow(data.events, 5, date(2024, 1, 1))
    assert shares[1] == pytest.approx(2.05 / 3.25)
    assert (fashion(shares, data.events) == 0).all()


def test_fashion_is_the_log_ratio_of_shares_now_and_then():
    data = build([("a", "1", 9), ("b", "1", 8), ("a", "2", 7)], TITLES)
    shares = np.array([0.1, 0.3, 0.3, 0.2, 0.1], dtype=np.float32)
    then = np.array([0.5, 2.5, 1.5, 0.5, 0.5]) / 5.5
    np.testing.assert_allclose(fashion(shares, data.events), np.log(shares / then), rtol=1e-5)
