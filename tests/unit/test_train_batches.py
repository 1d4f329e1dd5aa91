"""Training examples, checked against what they say of themselves."""

import math
from dataclasses import replace

import numpy as np
import pytest

from recbatch import config
from recbatch.contracts import Events
from recbatch.model import History
from recbatch.model.weights import event_weights
from recbatch.train.batches import Stream, fill_in_examples, next_examples, trainable_users
from recbatch.train.recipes import Recipe, recipes


def events(counts):
    """Users whose titles are all different: title = place in the arrays."""
    total = int(np.sum(counts))
    return Events(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.arange(total, dtype=np.int32),
        np.zeros(total, np.int64),
        np.ones(total, np.float32),
        np.full(total, np.nan, np.float32),
    )


WORLD = events([1, 5, 0, 12, 40])
USERS = np.array([4, 0, 3, 1])
NEXT = replace(recipes(config.Train(), True)[0], dropout=0.0, targets=3, reading=History(2.0, 6))
FILL_IN = replace(recipes(config.Train(objective="fill_in"), True)[0], dropout=0.5, reading=History(math.inf, 20))


def titles(batch, kind, row):
    return batch[f"{kind}_titles"][batch[f"{kind}_rows"] == row]


@pytest.mark.parametrize("seed", range(20))
def test_next_never_looks_ahead(seed):
    batch = next_examples(WORLD, USERS, NEXT, np.random.default_rng(seed))
    for row, user in enumerate(USERS):
        history, targets = titles(batch, "history", row), titles(batch, "target", row)
        assert 1 <= len(targets) <= NEXT.targets
        cut = targets[0]
        assert WORLD.offsets[user] <= cut
        assert targets[-1] < WORLD.offsets[user + 1]
        np.testing.assert_array_equal(history, np.arange(max(WORLD.offsets[user], cut - 6), cut))


def test_next_fades_with_age():
    batch = next_examples(WORLD, np.array([4]), NEXT, np.random.default_rng(1))
    weights = batch["history_weights"]
    np.testing.assert_allclose(weights[1:] / weights[:-1], np.sqrt(2), rtol=1e-5)


def test_dropout_hides_from_the_query_but_not_from_the_mask():
    half = replace(NEXT, dropout=0.5)
    batch = next_examples(WORLD, np.full(200, 4), half, np.random.default_rng(0))
    assert len(batch["seen_titles"]) > 1000
    assert 0.4 < len(batch["history_titles"]) / len(batch["seen_titles"]) < 0.6


@pytest.mark.parametrize("seed", range(5))
def test_fill_in_parts_a_history(seed):
    batch = fill_in_examples(WORLD, USERS, FILL_IN, np.random.default_rng(seed))
    for row, user in enumerate(USERS):
        end = WORLD.offsets[user + 1]
        both = np.concatenate([titles(batch, "history", row), titles(batch, "target", row)])
        np.testing.assert_array_equal(np.sort(both), np.arange(max(WORLD.offsets[user], end - 20), end))


@pytest.mark.parametrize("make, recipe", [(next_examples, NEXT), (fill_in_examples, FILL_IN)])
def test_weights_are_normed(make, recipe):
    batch = make(WORLD, USERS, recipe, np.random.default_rng(3))
    squares = np.bincount(batch["history_rows"], batch["history_weights"].astype(float) ** 2, minlength=4)
    np.testing.assert_allclose(squares[squares > 0], 1, rtol=1e-5)
    shares = np.bincount(batch["target_rows"], batch["target_weights"], minlength=4)
    np.testing.assert_allclose(shares, batch["importance"] > 0, rtol=1e-5)


def test_history_weights_are_those_of_serving():
    whole = replace(NEXT, reading=History(2.0, 1000))
    strong = replace(WORLD, weights=np.random.default_rng(0).uniform(0, 9, len(WORLD.items)).astype(np.float32))
    batch = next_examples(strong, np.array([4]), whole, np.random.default_rng(5))
    history = strong.where(np.isin(strong.items, batch["history_titles"]))
    served = event_weights([whole.reading], history)[0]
    np.testing.assert_allclose(batch["history_weights"], served, rtol=1e-6)


def test_each_pass_meets_every_user_once_in_another_order():
    stream = Stream(WORLD, NEXT, 2, np.random.default_rng(0))
    drawn = [stream.draw() for _ in range(40)]
    passes = np.concatenate([batch["users"] for batch in drawn]).reshape(20, 4)
    assert trainable_users(WORLD).tolist() == [0, 1, 3, 4]
    assert np.sort(passes, axis=1).tolist() == [[0, 1, 3, 4]] * 20
    assert len({tuple(order) for order in passes.tolist()}) > 5


@pytest.mark.parametrize(("make", "recipe"), [(next_examples, NEXT), (fill_in_examples, FILL_IN)])
def test_newcomers_have_no_history(make, recipe):
    batch = make(WORLD, np.repeat(USERS, 300), replace(recipe, newcomers=0.5), np.random.default_rng(3))
    size = len(batch["users"])
    without = np.bincount(batch["history_rows"], minlength=size) == 0
    usual = make(WORLD, np.repeat(USERS, 300), recipe, np.random.default_rng(3))
    assert without.mean() > 0.5 > (np.bincount(usual["history_rows"], minlength=size) == 0).mean()
    assert np.isin(np.flatnonzero(without), batch["target_rows"]).any()


def test_without_times_next_falls_back():
    assert [r.objective for r in recipes(config.Train(), has_times=False)] == ["fill_in"]
    assert recipes(config.Train(), has_times=True)[0].objective == "next"
    assert isinstance(recipes(config.Train(), True)[0], Recipe)


@pytest.mark.parametrize("make, recipe", [(next_examples, NEXT), (fill_in_examples, FILL_IN)])
def test_answers_bring_their_ratings_where_these_are_learned(make, recipe):
    rated = replace(WORLD, ratings=WORLD.items.astype(np.float32) / 2)
    without = make(rated, USERS, recipe, np.random.default_rng(3))
    batch = make(rated, USERS, replace(recipe, rating_weight=0.1), np.random.default_rng(3))
    np.testing.assert_array_equal(batch.pop("target_ratings"), batch["target_titles"] / 2)
    assert batch.keys() == without.keys()
    for name, array in batch.items():
        np.testing.assert_array_equal(array, without[name])


def test_ratings_are_learned_only_where_there_are_any():
    settings = config.Train(rating_weight=0.3)
    assert {recipe.rating_weight for recipe in recipes(settings, True, rated=True)} == {0.3}
    assert {recipe.rating_weight for recipe in recipes(settings, True)} == {0.0}
