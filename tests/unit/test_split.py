"""Laws of splits: rows are conserved, train lies before test, inputs are not changed."""

from datetime import date

import numpy as np
import pytest

from recbatch import config, split

from ._worlds import RUN_DATE, build, random_world


def rows(events):
    return sorted(
        zip(events.users_of_events().tolist(), events.items.tolist(), events.occurred_at.tolist(), strict=True)
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "make",
    [
        lambda data: split.by_time(data, config.Judge(users_wanted=20)),
        lambda data: split.by_hash(data, share=0.3),
        lambda data: split.at_random(data.events, share=0.2, seed=1),
        lambda data: split.per_user(data.events, share=0.8),
    ],
)
def test_rows_are_conserved_and_inputs_unchanged(seed, make):
    data, _ = random_world(seed)
    before = rows(data.events)
    parts = make(data)
    assert sorted(rows(parts.train) + rows(parts.test)) == before == rows(data.events)
    assert parts.train.num_users == parts.test.num_users == data.num_users


def test_the_slice_is_the_fewest_days_that_hold_the_users_wanted():
    events = [("a", "1", 0.5), ("b", "1", 1.5), ("c", "1", 2.5), ("c", "2", 40), ("d", "1", 9)]
    data = build(events, {"1": "x", "2": "y"})
    for wanted, days in ((1, 1), (2, 2), (3, 3), (4, 9)):
        parts = split.by_time(data, config.Judge(users_wanted=wanted, max_days=30))
        assert parts.protocol == f"time:{days}d"
        assert len(parts.judged_users) == wanted
        boundary = split.microseconds(parts.judge_from.date())
        assert (parts.train.occurred_at < boundary).all()
        assert (parts.test.occurred_at >= boundary).all()
    assert split.by_time(data, config.Judge(users_wanted=9, max_days=5)).protocol == "time:5d"


def test_the_boundary_never_moves_backwards():
    data = build([("a", "1", 0.5), ("b", "1", 6.5)], {"1": "x"})
    settings = config.Judge(users_wanted=2)
    assert split.by_time(data, settings).judge_from.date() == date(2024, 2, 23)
    later = date(2024, 2, 27)
    assert split.by_time(data, settings, not_before=later).judge_from.date() == later
    assert split.by_time(data, settings, not_before=RUN_DATE).judge_from.date() == date(2024, 2, 23)


def test_without_times_pairs_are_held_out_by_hash_and_stay_held_out_as_data_grows():
    few = [(f"u{n % 40}", str(n % 25), None) for n in range(400)]
    items = {str(n): f"t{n}" for n in range(30)}
    data = build(few, items)
    parts = split.by_time(data, config.Judge())
    assert parts.protocol == "hash:0.2"
    assert 0.1 < len(parts.test.items) / 400 < 0.3

    def held(data, events):
        users = data.user_ids.to_pylist()
        names = data.item_ids.to_pylist()
        return {(users[u], names[i]) for u, i in zip(events.users_of_events(), events.items, strict=True)}

    more = build([("aa", "29", None), ("u0", "28", None), *few], items)
    again = split.by_time(more, config.Judge())
    assert held(data, parts.test) <= held(more, again.test)
    assert not held(data, parts.test) & held(more, again.train)


def test_the_first_four_fifths_of_each_user_train():
    events = [("a", str(n), 10 - n) for n in range(10)] + [("b", "1", 1)]
    data = build(events, {str(n): f"t{n}" for n in range(10)})
    parts = split.per_user(data.events, share=0.8)
    assert parts.train.counts.tolist() == [8, 1]
    assert parts.test.items.tolist() == [8, 9]


def test_a_random_split_holds_out_a_fifth_exactly_and_repeats():
    data, _ = random_world(3)
    total = len(data.events.items)
    one, two = (split.at_random(data.events, share=0.2, seed=5) for _ in range(2))
    assert len(one.test.items) == int(0.2 * total)
    np.testing.assert_array_equal(one.test.items, two.test.items)
