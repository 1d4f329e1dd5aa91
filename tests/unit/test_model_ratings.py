"""The rating head in NumPy, its place on the shelf, and how far off its predictions are: no TensorFlow."""

import math
from dataclasses import replace

import numpy as np
import pytest

from jobs._model import Judged
from jobs._ratings import predictions, rated
from recbatch import config, evaluate, split
from recbatch.model import History, HistoryTowers, Part, RatingHead, concatenate, rating_scale
from recbatch.train import train_digest
from tests.unit._worlds import build

ITEMS = {name: name for name in "abcd"}
RATED = [("u", "a", 20.0), ("u", "b", 19.0), ("v", "a", 18.0), ("u", "c", 1.0), ("v", "b", 0.5), ("v", "d", 0.2)]


def head(width, seed=0):
    random = np.random.default_rng(seed)
    tables = random.normal(size=(3 * width, 4)), random.normal(size=4), random.normal(size=4)
    return RatingHead(*(table.astype(np.float32) for table in tables), 0.5, 3.0, 1.5)


def part(width, seed, own_head):
    random = np.random.default_rng(seed)
    tables = random.normal(size=(2, 3, width)).astype(np.float32)
    bias = np.zeros(3, np.float32), random.normal(size=width).astype(np.float32)
    return Part(*tables, *bias, History(math.inf, 9), head=own_head)


@pytest.fixture(scope="module")
def world():
    """Users u and v, ratings 4, 2 and 3 before the judged days, then 5, none and 1; title d is not in the vocabulary."""
    data = build(RATED, ITEMS)
    by_user = np.array([4, 2, 5, 3, np.nan, 1], np.float32)
    return replace(data, events=replace(data.events, ratings=by_user))


def towers(data, heads):
    parts = [part(5 + n, n, one) for n, one in enumerate(heads)]
    return concatenate(data.item_ids[:3], parts, [0.3, 1.2][: len(heads)])


def test_a_prediction_is_what_the_formula_says():
    random, own = np.random.default_rng(1), head(5)
    query, candidate = random.normal(size=(2, 7, 5)).astype(np.float32)
    features = np.concatenate([query, candidate, query * candidate], axis=1).astype(np.float64)
    hidden = np.maximum(features @ own.hidden + own.hidden_bias, 0)
    np.testing.assert_allclose(own.predict(query, candidate), 3 + 1.5 * (hidden @ own.output + 0.5), rtol=1e-4)


def test_parts_speak_by_their_shares_each_in_its_own_columns(world, monkeypatch):
    both = towers(world, [head(5), head(6, 1)])
    queries = both.embed(world.events.where(world.events.items < 3))
    users, items = np.array([1, 0, 1], np.int32), np.array([0, 2, 2], np.int32)
    alone = []
    for one in both.parts:
        own = concatenate(both.item_ids, [one], [1.0])
        alone.append(own.ratings(own.embed(world.events.where(world.events.items < 3)), users, items))
    expected = (0.3 * alone[0] + 1.2 * alone[1]) / 1.5
    np.testing.assert_allclose(both.ratings(queries, users, items), expected, rtol=1e-4)
    monkeypatch.setattr("recbatch.model.ratings._CHUNK_PAIRS", 1)
    np.testing.assert_allclose(both.ratings(queries, users, items), expected, rtol=1e-4)
    assert towers(world, [head(5), None]).ratings(queries, users, items) is None


def test_heads_keep_their_place_among_plain_arrays(world):
    both = towers(world, [head(5), head(6, 1)])
    arrays = both.to_arrays()
    assert all(array.dtype.kind in "fi" for array in arrays.values())
    back = HistoryTowers.from_arrays(both.item_ids, arrays, both.tokens)
    for ours, theirs in zip(both.parts, back.parts, strict=True):
        np.testing.assert_array_equal(ours.head.hidden, theirs.head.hidden)
        np.testing.assert_array_equal(ours.head.output, theirs.head.output)
        assert (ours.head.output_bias, ours.head.mean, ours.head.spread) == (0.5, 3.0, 1.5)
    without = towers(world, [None, None]).to_arrays()
    assert not any(name.startswith("rating") for name in without)
    assert all(one.head is None for one in HistoryTowers.from_arrays(both.item_ids, without, both.tokens).parts)


def test_the_scale_leaves_out_what_is_not_rated():
    assert rating_scale(np.array([1, np.nan, 3], np.float32)) == (2, 1)
    assert rating_scale(np.array([4, 4], np.float32)) == (4, 1)


def test_the_error_is_that_of_all_rated_events_and_the_mean_rating_stands_beside_it(world):
    parts = split.by_time(world, config.Judge(users_wanted=2))
    test = parts.test.where(np.isfinite(parts.test.ratings))
    assert test.ratings.tolist() == [5, 1]
    settings = config.Config()
    own = towers(world, [head(5), head(6, 1)])
    learned, ignorant = (Judged(one, parts.train) for one in (own, towers(world, [None, None])))
    found = {row.source: row for row in rated({"model": learned, "popular": None}, parts, world, settings)}
    assert found["popular"].value == pytest.approx(math.sqrt(((5 - 3) ** 2 + (1 - 3) ** 2) / 2))
    said = predictions(own, parts.train, test, world, 3.0)
    assert said[1] == 3.0  # of an unknown title
    assert found["model"].value == pytest.approx(math.sqrt(((5 - said[0]) ** 2 + (1 - 3) ** 2) / 2), rel=1e-5)
    assert {(row.metric, row.k, row.segment, row.users) for row in found.values()} == {("rmse", 0, "all", 2)}
    assert all(row.ci_low <= row.value <= row.ci_high for row in found.values())
    assert rated({"model": ignorant, "popular": None}, parts, world, settings) == ()
    assert rated({"model": learned, "popular": None}, replace(parts, test=parts.train), world, settings) != ()
    unrated = replace(parts.test, ratings=np.full(3, np.nan, np.float32))
    assert rated({"model": learned, "popular": None}, replace(parts, test=unrated), world, settings) == ()


def test_users_with_many_events_count_for_as_many(world):
    predicted = {"model": np.zeros(6, np.float32)}
    events = replace(world.events, ratings=np.array([1, 1, 1, 3, 3, 3], np.float32))
    events = replace(events, offsets=np.array([0, 1, 6]))
    (row,) = evaluate.rating_metrics(predicted, events, config.Judge(), protocol="x", seed=0)
    assert row.value == pytest.approx(math.sqrt((3 * 1 + 3 * 9) / 6))
    assert row.ci_low == pytest.approx(1)  # user u alone, drawn twice
    assert row.ci_high == pytest.approx(math.sqrt((2 * 1 + 3 * 9) / 5))


def test_without_weight_a_model_keeps_its_name():
    """A model made before there were heads is not trained anew."""
    without = config.Train()
    assert without.rating_weight == 0
    assert train_digest(without) != train_digest(config.Train(rating_weight=0.3))
