"""Laws of the towers, on random weights: no TensorFlow."""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recbatch import _compiling
from recbatch.contracts import Events, Towers
from recbatch.model import FeatureSpace, History, HistoryTowers, Part, Tokens, acc_at_k, concatenate, known_events
from recbatch.model.features import Field
from recbatch.model.weights import event_weights
from tests.unit._worlds import build

TITLES = 30


def histories(counts, seed=0, weights=None):
    random = np.random.default_rng(seed)
    total = int(np.sum(counts))
    return Events(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        random.integers(0, TITLES, total).astype(np.int32),
        np.zeros(total, np.int64),
        np.ones(total, np.float32) if weights is None else random.choice(weights, total).astype(np.float32),
        np.full(total, np.nan, np.float32),
    )


def towers(*readings, seed=1):
    random = np.random.default_rng(seed)

    def part(width, reading):
        table = random.normal(size=(2, TITLES, width)).astype(np.float32)
        bias = random.normal(size=TITLES).astype(np.float32), random.normal(size=width).astype(np.float32)
        return Part(table[0], table[1], *bias, reading)

    ids = pa.array([str(n) for n in range(TITLES)])
    parts = [part(5 + n, reading) for n, reading in enumerate(readings)]
    return concatenate(ids, parts, [0.3 + n for n in range(len(parts))])


FADING = History(half_life_events=3.0, max_history=7)
WHOLE = History(half_life_events=math.inf, max_history=1000)
BOTH = towers(FADING, WHOLE)
MIXED = histories([0, 1, 9, 0, 3, 40, 2, 0], weights=[0, 0.5, 1, 7])


def test_they_keep_the_protocol():
    contract: Towers = BOTH
    assert contract.dim == 5 + 6 + 1
    assert contract.candidates.shape == (TITLES, contract.dim)
    assert contract.query_bias[-1] == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_query_does_not_depend_on_its_neighbours(seed):
    random = np.random.default_rng(seed)
    everyone = histories(random.integers(0, 60, 50), seed, weights=[0.2, 1, 3])
    whole = BOTH.embed(everyone)
    for users in (np.array([7]), np.arange(10, 30), random.permutation(50)):
        np.testing.assert_array_equal(BOTH.embed(everyone.of_users(users)), whole[users])


def test_a_query_does_not_depend_on_the_chunk(monkeypatch):
    whole = BOTH.embed(MIXED)
    monkeypatch.setattr("recbatch.model.towers._CHUNK_BYTES", 1)
    np.testing.assert_array_equal(BOTH.embed(MIXED), whole)


def test_a_query_has_the_same_bits_compiled_and_not(monkeypatch):
    queries = []
    for compiled in (False, True):
        monkeypatch.setattr(_compiling, "is_due", lambda operations, compiled=compiled: compiled)
        queries.append(BOTH.embed(MIXED).view(np.int32))
    np.testing.assert_array_equal(*queries)


def test_a_query_is_the_bias_plus_its_event_vectors():
    vectors = BOTH.event_factors(MIXED).of(MIXED.items)
    expected = np.tile(BOTH.query_bias, (MIXED.num_users, 1)).astype(np.float64)
    np.add.at(expected[:, :-1], MIXED.users_of_events(), vectors)
    np.testing.assert_allclose(BOTH.embed(MIXED), expected, rtol=0, atol=1e-5)


def test_an_empty_history_gives_the_bias():
    queries = BOTH.embed(MIXED)
    np.testing.assert_array_equal(queries[MIXED.counts == 0], np.tile(BOTH.query_bias, (3, 1)))
    assert BOTH.embed(histories([])).shape == (0, BOTH.dim)
    assert BOTH.event_factors(histories([0, 0])).of(np.empty(0, np.int32)).shape == (0, BOTH.dim - 1)


def test_only_the_newest_events_count():
    fading = towers(FADING)
    long = histories([20])
    vectors = fading.event_factors(long).of(long.items)
    assert not vectors[:13].any()
    assert vectors[13:].all()
    recent = Events(
        np.array([0, 7]), *(getattr(long, name)[13:] for name in ("items", "occurred_at", "weights", "ratings"))
    )
    np.testing.assert_array_equal(fading.embed(recent), fading.embed(long))


def test_weights_by_hand():
    events = histories([3])
    raw = np.array([1 / 4, 1 / 2, 1])
    [weights] = event_weights([History(half_life_events=1.0, max_history=10)], events)
    np.testing.assert_allclose(weights, raw / np.sqrt(1 / 16 + 1 / 4 + 1), rtol=1e-6)
    doubled = replace(events, weights=np.array([1, 1, 3], np.float32))  # log2(1 + 3) = 2
    [weights] = event_weights([History(math.inf, 10)], doubled)
    np.testing.assert_allclose(weights, np.array([1, 1, 2]) / np.sqrt(6), rtol=1e-6)


def test_weights_of_zero_and_below_count_nothing():
    events = replace(histories([2, 1]), weights=np.array([-5, 0, 0], np.float32))
    vectors = BOTH.event_factors(events).of(events.items)
    np.testing.assert_array_equal(vectors, np.zeros((3, BOTH.dim - 1), np.float32))
    np.testing.assert_array_equal(BOTH.embed(events), np.tile(BOTH.query_bias, (2, 1)))


def test_scores_of_parts_add_up():
    random = np.random.default_rng(4)
    parts = [
        Part(
            *random.normal(size=(2, TITLES, width)).astype(np.float32),
            random.normal(size=TITLES).astype(np.float32),
            random.normal(size=width).astype(np.float32),
            reading,
        )
        for width, reading in ((4, FADING), (9, WHOLE))
    ]
    ids = BOTH.item_ids
    alone = [concatenate(ids, [part], [1.0]) for part in parts]
    together = concatenate(ids, parts, [0.25, 0.75])
    scores = [one.embed(MIXED) @ one.candidates.T for one in (*alone, together)]
    np.testing.assert_allclose(scores[2], 0.25 * scores[0] + 0.75 * scores[1], atol=1e-4)


def test_arrays_round_trip():
    arrays = BOTH.to_arrays()
    assert all(array.dtype.kind in "if" for array in arrays.values())
    again = HistoryTowers.from_arrays(BOTH.item_ids, arrays, BOTH.tokens)
    np.testing.assert_array_equal(again.embed(MIXED), BOTH.embed(MIXED))
    assert (again.widths, again.readings) == (BOTH.widths, BOTH.readings)


def test_known_events_speak_the_models_positions():
    data = build([("a", "x", 3), ("a", "z", 2), ("b", "y", 1), ("b", "z", 1)], {"x": "X", "y": "Y", "z": "Z"})
    other = towers(WHOLE)
    known = replace(other, item_ids=pa.array(["z", "q", "x"]))
    events = known_events(data.events, data, known)
    assert events.items.tolist() == [2, 0, 0]
    assert events.items.dtype == np.int32
    assert events.offsets.tolist() == [0, 2, 3]
    assert data.events.items.tolist() == [0, 2, 1, 2]


def test_acc_at_k_by_hand():
    # one user, history {0}; scores fall with the position: 3 is third among the unseen 1, 2, 3
    table = np.zeros((4, 1), np.float32)
    part = Part(table, table, np.array([4, 3, 2, 1], np.float32), np.zeros(1, np.float32), WHOLE)
    model = concatenate(pa.array(list("abcd")), [part], [1.0])
    one = histories([1])
    train = replace(one, items=np.array([0], np.int32))
    test = replace(one, items=np.array([3], np.int32))
    assert acc_at_k(model, train, test, (1, 2, 3)) == {1: 0.0, 2: 0.0, 3: 1.0}
    assert acc_at_k(model, train, test, (3, 4), exclude_seen=False) == {3: 0.0, 4: 1.0}
    assert acc_at_k(model, train, replace(test, items=np.array([-1], np.int32)), (4,)) == {4: 0.0}


def with_tokens(seed=3):
    """Towers over titles 0 to 27 of a world of 30, users with two columns, items with genres."""
    random = np.random.default_rng(seed)
    genres = [["a"] if n % 3 else ["a", "b"] for n in range(TITLES)]
    items = pa.table({"genres": pa.array([*genres[:29], []], pa.list_(pa.string()))})
    users = pa.table({"sex": ["f", "m"] * 5, "town": [None, *["x", "y", "z"] * 3]})
    tokens = Tokens(
        FeatureSpace((Field("sex", ("f", "m")), Field("town", ("x", "y")))),
        FeatureSpace((Field("genres", ("a", "b")),)),
    )
    part = Part(
        *random.normal(size=(2, 28, 5)).astype(np.float32),
        random.normal(size=28).astype(np.float32),
        random.normal(size=5).astype(np.float32),
        WHOLE,
        profile=random.normal(size=(4, 5)).astype(np.float32),
        token_history=random.normal(size=(2, 5)).astype(np.float32),
        token_candidates=random.normal(size=(2, 5)).astype(np.float32),
        token_bias=random.normal(size=2).astype(np.float32),
        unknown_bias=-4.0,
    )
    ids = [f"{n:02}" for n in range(TITLES)]
    data = build([("u0", ids[0], 1.0)], {name: name for name in ids})
    data = replace(data, items=data.items.append_column("genres", items["genres"]))
    return concatenate(pa.array(ids[:28]), [part], [0.25], tokens), replace(data, users=users), part


def test_a_title_without_events_is_what_its_tokens_say():
    towers, data, part = with_tokens()
    more = towers.with_items(data)
    assert more.item_ids.to_pylist()[28:] == ["28"]  # 29 has no token
    np.testing.assert_array_equal(more.candidates[:28], towers.candidates)
    np.testing.assert_allclose(more.candidates[28, :5], part.token_candidates[0] * 0.5, rtol=1e-6)
    np.testing.assert_allclose(more.history[28], part.token_history[0] * 0.5, rtol=1e-6)
    np.testing.assert_allclose(more.candidates[28, 5], (part.token_bias[0] - 4) * 0.25, rtol=1e-6)
    assert towers.with_items(replace(data, items=data.items.drop_columns(["genres"]))) is towers


def test_tokens_of_a_user_count_less_the_longer_the_history():
    towers, data, part = with_tokens()
    profiles = towers.profiles(data)
    assert profiles[:3].tolist() == [[0, -1], [1, 2], [0, 3]]
    events = histories([0, 0, 0, 1, 2, 3, 0, 0, 0, 9])
    events = replace(events, items=events.items % 28)
    added = (towers.embed(events, profiles) - towers.embed(events))[:, :5] * 2  # the share's root is a half
    for user in range(10):
        known = profiles[user][profiles[user] >= 0]
        expected = part.profile[known].sum(axis=0) / (1 + events.counts[user])
        np.testing.assert_allclose(added[user], expected, atol=1e-5)
    some = np.array([7, 2])
    np.testing.assert_array_equal(
        towers.embed(events.of_users(some), profiles[some]), towers.embed(events, profiles)[some]
    )
    assert BOTH.profiles(data) is None


def test_arrays_with_tokens_round_trip():
    towers, data, _ = with_tokens()
    again = HistoryTowers.from_arrays(towers.item_ids, towers.to_arrays(), towers.tokens)
    np.testing.assert_array_equal(again.with_items(data).candidates, towers.with_items(data).candidates)
    np.testing.assert_array_equal(again.profile, towers.profile)
