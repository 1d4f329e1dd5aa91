"""Digests of what lists depend on: whatever can change a list changes them, and a shift of positions does not."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recbatch import config, score
from recbatch.contracts import NO_ITEM, Exclusions
from recbatch.index import ExactIndex
from recbatch.rules import Caps, Pins, Rules
from recbatch.score import Catalogue, Ranker, by_popularity, shared_digest, user_digests

from ._worlds import RUN_DATE, SumTowers, build

IDS = [str(number) for number in range(10, 30)]
TITLES = {name: f"Title {name}" for name in IDS}
EVENTS = [("a", "10", 3), ("a", "11", 2), ("a", "12", 1), ("b", "11", 2), ("c", "13", 5), ("c", "10", 4)]
TOWERS = SumTowers(pa.array(IDS), np.random.default_rng(1).normal(size=(len(IDS), 5)).astype(np.float32))


def night(events=EVENTS, titles=TITLES, towers=TOWERS, keep_seen=False, rules=None, profiles=None):
    """(data, ranker); `rules` is made from the data."""
    data = build(events, titles)
    obeyed = rules(data) if rules else Rules()
    popular = score.only(by_popularity(data, data.events, RUN_DATE, config.Popular()), obeyed.eligible)
    catalogue = Catalogue.of(towers, data, rules=obeyed)
    index = ExactIndex(catalogue.embeddings)
    return data, Ranker(popular, towers, catalogue, index, keep_seen, profiles, obeyed)


def digests(*arguments, **settings):
    data, ranker = night(*arguments, **settings)
    return dict(zip(data.user_ids.to_pylist(), user_digests(ranker, data).tolist(), strict=True))


def shared(*arguments, **settings):
    data, ranker = night(*arguments, **settings)
    return shared_digest(ranker, data, {"k": 5})


def changed(*arguments, **settings):
    """Users whose digest is another."""
    before, after = digests(), digests(*arguments, **settings)
    return {user for user in before if before[user] != after[user]}


def place(data, item):
    return data.item_ids.to_pylist().index(item)


def test_order_titles_and_number_of_events_count():
    swapped = [("a", "11", 3), ("a", "10", 2), *EVENTS[2:]]
    assert changed(swapped) == {"a"}
    assert changed(swapped, keep_seen=True) >= {"a"}
    assert changed([*EVENTS, ("b", "11", 1)]) == {"b"}, "once more"
    assert changed([*EVENTS[:4], ("c", "14", 5), EVENTS[5]]) == {"c"}
    assert changed([(user, item, days + 1) for user, item, days in EVENTS]) == set(), "times are not read"


def test_weights_count():
    data, ranker = night()
    weights = data.events.weights.copy()
    weights[data.events.offsets[1]] = 2
    other = user_digests(ranker, replace(data, events=replace(data.events, weights=weights)))
    assert (other != user_digests(ranker, data)).tolist() == [False, True, False]


def test_a_title_that_comes_in_before_all_others_changes_nobody():
    more = {"1": "first in position order"} | TITLES
    assert place(build(EVENTS, more), "10") == 1
    assert changed(titles=more) == set()
    assert shared(titles=more) == shared()
    assert changed([*EVENTS, ("b", "1", 3)], titles=more) == {"b"}, "unknown to the model, but seen"


def test_what_is_barred_pinned_and_known_of_a_user_counts():
    def denied(data):
        return Rules(denied=Exclusions(np.array([0, 0, 1, 1]), np.array([place(data, "20")], np.int32)))

    def pinned(data):
        members = np.array([[False, False, True]])
        return Rules(pins=Pins(np.array([place(data, "21")], np.int32), np.zeros(1, np.int32), members))

    assert changed(rules=denied) == {"b"}
    assert digests(rules=pinned)["c"] not in digests(rules=lambda data: Rules(eligible=None)).values()
    plain, other = (digests(profiles=np.array(codes, np.int32)) for codes in ([[0], [1], [-1]], [[0], [2], [-1]]))
    assert [user for user in plain if plain[user] != other[user]] == ["b"]
    since = int(np.datetime64(RUN_DATE, "us").astype(np.int64)) - 3 * 86_400_000_000
    assert changed(rules=lambda data: Rules(seen_since=since)) == {"c"}, "what left the window"


def test_candidates_towers_search_and_settings_are_shared():
    moved = replace(TOWERS, candidates=TOWERS.candidates * np.float32(1.5))
    some = np.arange(len(IDS)) != 3
    fewer = {name: title for name, title in TITLES.items() if name != "29"}
    found = [
        shared(),
        shared(towers=moved),
        shared(titles=fewer),
        shared(keep_seen=True),
        shared(rules=lambda data: Rules(eligible=some)),
        shared(rules=lambda data: Rules(bias=some.astype(np.float32))),
        shared(rules=lambda data: Rules(caps=Caps.of({"title": 1}, data.items))),
        shared(rules=lambda data: Rules(caps=Caps.of({"title": 2}, data.items))),
    ]
    assert len(set(found)) == len(found)
    data, ranker = night()
    assert shared_digest(ranker, data, {"k": 6}) != shared_digest(ranker, data, {"k": 5})
    assert shared_digest(Ranker(ranker.popular), data, {"k": 5}) is None


@pytest.mark.parametrize("seed", range(6))
def test_who_has_the_same_digest_has_the_same_list(seed):
    generator = np.random.default_rng(seed)
    users = [f"u{number:02}" for number in range(12)]
    events = [(user, str(generator.choice(IDS)), float(day)) for user in users for day in (40, 30, 20)]
    news = [(str(generator.choice(users)), str(generator.choice(IDS)), 1.0) for _ in range(4)]
    towers = replace(TOWERS, candidates=generator.normal(size=(len(IDS), 5)).astype(np.float32))
    nights = [
        night(events, TITLES, towers),
        night([*events, *news], {"1": "new"} | TITLES, towers),
    ]
    assert len({shared_digest(ranker, data, {}) for data, ranker in nights}) == 1
    (before, after) = (user_digests(ranker, data) for data, ranker in nights)
    same = np.flatnonzero(before == after).astype(np.int32)
    assert set(np.array(users)[sorted({*range(12)} - {*same.tolist()})]) <= {user for user, _, _ in news}
    assert len(same) >= 8
    was, is_ = (ranker.rank(data.events, same, 10) for data, ranker in nights)
    np.testing.assert_array_equal(is_.scores, was.scores)
    for name in ("positions", "because"):
        ids = [
            np.array([*data.item_ids.to_pylist(), None], object)[np.where(found == NO_ITEM, -1, found)]
            for (data, _), found in zip(nights, (getattr(was, name), getattr(is_, name)), strict=True)
        ]
        assert (ids[0] == ids[1]).all()


def test_candidates_as_trained_do_not_follow_what_came_later():
    towers = replace(TOWERS, returning_weight=0.5)
    nights = [
        build(EVENTS, TITLES),
        build([*EVENTS, *[("b", "20", 0.5)] * 50, ("d", "1", 0.5)], {"1": "new"} | TITLES),
    ]
    found = []
    for data in nights:
        learned = data.events.where(
            data.events.occurred_at <= int(np.datetime64(RUN_DATE, "us").astype(np.int64)) - 86_400_000_000
        )
        shares = score.tomorrow(data.events, data.num_items, RUN_DATE)
        found.append([Catalogue.of(towers, data, shares, learned, as_trained=frozen).embeddings for frozen in (0, 1)])
    (nightly, trained), (nightly_later, trained_later) = found
    np.testing.assert_array_equal(trained, trained_later)
    assert not np.array_equal(nightly, nightly_later)
    np.testing.assert_array_equal(trained[:, :-1], TOWERS.candidates[:, :-1] * np.float32(0.5))
    assert trained[0, -1] - TOWERS.candidates[0, -1] / 2 > trained[5, -1] - TOWERS.candidates[5, -1] / 2
