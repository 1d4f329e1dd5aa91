"""The shift towards what is in fashion."""

import numpy as np
import pytest

from recbatch.contracts import NO_TIME, Events
from recbatch.train import trend as module
from recbatch.train.trend import trend

DAY = 86_400_000_000


def events(items, days):
    total = len(items)
    times = [NO_TIME if day is None else day * DAY for day in days]
    return Events(
        np.array([0, total]),
        np.array(items, np.int32),
        np.array(times, np.int64),
        np.ones(total, np.float32),
        np.full(total, np.nan, np.float32),
    )


def test_by_hand(monkeypatch):
    monkeypatch.setattr(module, "PRIOR_EVENTS", 0.0)
    # title 0: one event a half-life ago, title 1: one now; shares of all events 1/2 each
    shift = trend(events([0, 1], [0, 7]), 2, 7.0)
    np.testing.assert_allclose(shift, np.log([(1 / 3) / (1 / 2), (2 / 3) / (1 / 2)]), rtol=1e-6)


def test_the_prior_holds_a_small_data_set_still():
    assert np.abs(trend(events([0, 1], [0, 700]), 2, 7.0)).max() < 0.001


@pytest.mark.parametrize("days", [[None, None], [3, 3]])
def test_nothing_moves_without_time(days):
    np.testing.assert_allclose(trend(events([0, 1], days), 3, 7.0), np.zeros(3), atol=1e-6)


def test_an_event_without_time_counts_as_old(monkeypatch):
    monkeypatch.setattr(module, "PRIOR_EVENTS", 1.0)
    shift = trend(events([0, 1], [None, 5]), 2, 7.0)
    assert shift[0] < 0 < shift[1]
