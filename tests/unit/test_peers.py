"""The peers against sums done by hand, and against slower ways to the same figures."""

import importlib.util
from datetime import timedelta
from fractions import Fraction

import numpy as np
import pytest

from jobs import _item_item, _peers
from recbatch.contracts import NO_ITEM, NO_TIME, Events

DAY = int(timedelta(days=1).total_seconds()) * 1_000_000


def events(histories, days=None):
    """Events of some users from lists of item positions, and of the days they happened on."""
    items = np.array([item for history in histories for item in history], np.int32)
    times = np.full(len(items), NO_TIME) if days is None else np.array([at for of in days for at in of], np.int64) * DAY
    offsets = np.cumsum([0, *map(len, histories)])
    return Events(offsets, items, times, np.ones(len(items), np.float32), np.full(len(items), np.nan, np.float32))


def random_events(seed, users=80, items=12):
    generator = np.random.default_rng(seed)
    return events([generator.integers(items, size=generator.integers(0, 9)).tolist() for _ in range(users)])


def matrix(of, items):
    dense = np.zeros((of.num_users, items))
    dense[of.users_of_events(), of.items] = 1
    return dense


def test_a_pair_is_counted_once_with_its_weights_and_its_newest_time():
    repeated = events([[3, 1, 3], [], [0, 0]], days=[[1, 2, 5], [], [4, 4]])
    once = _peers.distinct(repeated)
    assert once.offsets.tolist() == [0, 2, 2, 3]
    assert once.items.tolist() == [1, 3, 0]
    assert (once.occurred_at // DAY).tolist() == [2, 5, 4]
    assert once.weights.tolist() == [1, 2, 2]
    assert repeated.items.tolist() == [3, 1, 3, 0, 0], "unchanged"


def test_nothing_is_distinct_from_nothing():
    assert _peers.distinct(events([[], []])).offsets.tolist() == [0, 0, 0]


def test_popularity_counts_users():
    peer = _peers.Workshop(events([[0, 2, 2], [2], [2, 0]]), 4).fit("popularity", {}, 0)
    assert peer.scores(events([[1], []])).tolist() == [[2, 0, 3, 0]] * 2


def test_recent_popularity_halves_with_every_half_life():
    of = events([[0, 0, 1], [2]], days=[[0, 2, 4], [1]])
    peer = _peers.Workshop(of, 3).fit("recent", {"half_life_days": 2}, 0)
    expected = [2**-2 + 2**-1, 1, 2**-1.5]
    np.testing.assert_allclose(peer.scores(events([[]]))[0], expected, rtol=1e-6)


def test_recent_popularity_without_times_is_a_count():
    assert _peers.recent_counts(events([[0, 1], [1]]), 2, 3).tolist() == [1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_co_occurrences_are_the_product_of_the_matrix_with_itself(seed, monkeypatch):
    monkeypatch.setattr(_item_item, "_USERS_AT_A_TIME", 7)
    of = random_events(seed)
    titles = np.array([0, 1, 3, 4, 8, 11], np.int32)
    dense = matrix(of, 12)[:, titles]
    np.testing.assert_array_equal(_item_item.co_occurrences(_peers.distinct(of), titles, 12), dense.T @ dense)


def test_neighbours_by_hand():
    # Users of title 0: a b c d, of title 1: a b c, of title 2: a.
    of = events([[0, 1, 2], [0, 1], [0, 1], [0]])
    shared = _item_item.co_occurrences(of, np.arange(3, dtype=np.int32), 3)
    expected = [
        [0, 3 / (np.sqrt(12) + 1), 1 / (np.sqrt(4) + 1)],
        [3 / (np.sqrt(12) + 1), 0, 1 / (np.sqrt(3) + 1)],
        [1 / (np.sqrt(4) + 1), 1 / (np.sqrt(3) + 1), 0],
    ]
    np.testing.assert_allclose(_item_item.knn_weights(shared, k=3, shrinkage=1), expected, rtol=1e-6)
    nearest = _item_item.knn_weights(shared, k=1, shrinkage=1)
    # Of each candidate (column) the nearest title only: 1 for 0, 0 for 1, and for 2 it is 1, as 1/2.73 > 1/3.
    assert (nearest > 0).tolist() == [[False, True, False], [True, False, True], [False, False, False]]


def test_a_score_of_neighbours_is_the_sum_over_the_history():
    of = events([[0, 1, 2], [0, 1], [0, 1], [0]])
    peer = _peers.Workshop(of, 4).fit("itemknn", {"k": 3, "shrinkage": 1}, 0)
    score = peer.scores(events([[0, 1]]))[0, 2]
    assert score == pytest.approx(1 / 3 + 1 / (np.sqrt(3) + 1), abs=2e-6)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("regularization", [1, 20])
def test_ease_is_a_ridge_regression_of_every_title_on_all_others(seed, regularization):
    dense = matrix(random_events(seed), 12)
    found = _item_item.ease_weights((dense.T @ dense).astype(np.float32), regularization)
    for title in range(12):
        others = np.delete(dense, title, axis=1)
        gram = others.T @ others + regularization * np.eye(11)
        expected = np.insert(np.linalg.solve(gram, others.T @ dense[:, title]), title, 0)
        np.testing.assert_allclose(found[:, title], expected, atol=1e-6)


def test_ease_of_two_titles_by_hand():
    # XtX = [[3, 2], [2, 2]], lambda 1: the regression of title 0 on title 1 is 2 / (2 + 1), of 1 on 0 it is 2 / (3 + 1).
    weights = _item_item.ease_weights(np.array([[3, 2], [2, 2]], np.float32), 1)
    assert Fraction(float(weights[1, 0])).limit_denominator(100) == Fraction(2, 3)
    assert Fraction(float(weights[0, 1])).limit_denominator(100) == Fraction(1, 2)
    assert weights[0, 0] == weights[1, 1] == 0


@pytest.mark.parametrize("users", [1, 40])
def test_scores_by_product_and_by_gathering_agree(users):
    generator = np.random.default_rng(users)
    weights = generator.normal(size=(300, 300)).astype(np.float32)
    light = events([generator.choice(300, size=2, replace=False).tolist() for _ in range(users)])
    heavy = events([generator.choice(300, size=60, replace=False).tolist() for _ in range(users)])
    for histories in (light, heavy):
        expected = matrix(histories, 300) @ weights
        np.testing.assert_allclose(_item_item._summed(histories, histories.items, weights), expected, atol=1e-4)


def test_titles_beyond_the_matrix_stand_by_popularity(monkeypatch):
    monkeypatch.setattr(_peers, "_MOST_TITLES", 2)
    of = events([[0, 1, 2], [0, 1], [0, 1, 3], [3]])
    peer = _peers.Workshop(of, 5).fit("ease", {"regularization": 1}, 0)
    assert peer.titles.tolist() == [0, 1]
    scores = peer.scores(events([[2]]))[0]
    assert scores[0] == scores[1] > scores[3] > scores[2] > scores[4] == 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 5, 30, 50])
def test_the_best_are_those_of_a_full_sort_ties_by_position(seed, k):
    generator = np.random.default_rng(seed)
    scores = generator.integers(6, size=(20, 30)).astype(np.float32)  # many ties
    scores[generator.random(scores.shape) < 0.2] = -np.inf
    positions, best = _peers.top(scores, k)
    for row in range(20):
        expected = [int(at) for at in np.argsort(-scores[row], kind="stable") if scores[row, at] > -np.inf][:k]
        assert [at for at in positions[row].tolist() if at != NO_ITEM] == expected
        assert best[row, : len(expected)].tolist() == scores[row, expected].tolist()
        assert (best[row, len(expected) :] == -np.inf).all()


@pytest.mark.parametrize("name", [name for name in _peers.GRIDS if name != "ials"])
def test_lists_leave_out_what_was_seen_and_serve_users_without_history_by_popularity(name, monkeypatch):
    monkeypatch.setattr(_peers, "_USERS_AT_A_TIME", 3)
    learned = _peers.distinct(random_events(5))
    peer = _peers.Workshop(learned, 12).fit(name, _peers.GRIDS[name][0], 0)
    histories = events([[3, 4, 3], [], [0], list(range(12)), [5], []])
    users = np.array([5, 3, 0, 1], np.int32)
    lists = _peers.rank(peer, histories, users, 10)
    by_popularity = np.argsort(-np.bincount(learned.items, minlength=12), kind="stable")
    assert lists.users is users
    assert lists.positions[0].tolist() == lists.positions[3].tolist() == by_popularity[:10].tolist()
    assert (lists.positions[1] == NO_ITEM).all()
    assert set(lists.positions[2].tolist()) == set(range(12)) - {3, 4}


def test_the_settings_with_the_highest_quality_are_chosen_and_one_alone_is_not_tried():
    assert _peers.choose("recent", lambda settings: -abs(settings["half_life_days"] - 8)) == {"half_life_days": 7}
    assert _peers.choose("ease", lambda settings: 0) == _peers.GRIDS["ease"][0]
    assert _peers.choose("popularity", lambda settings: pytest.fail("asked")) == {}


def test_ials_is_left_out_with_its_cure_where_its_library_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    kept, said = _peers.available(["ials", "ease"])
    assert kept == ["ease"]
    assert "pip install 'recbatch[bench]'" in said[0]
    assert _peers.available(["ease"]) == (["ease"], [])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "found")
    assert _peers.available(["ials", "ease"]) == (["ials", "ease"], [])
