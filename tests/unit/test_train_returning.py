"""How much of a score holds for the next visit is read off pauses in the training events."""

import numpy as np

from recbatch.train.returning import returning_weight

from ._worlds import SumTowers, build

TITLES = {str(n): f"t{n}" for n in range(12)}


def world(users, returns_at_random):
    """Two clicks of one genre within a minute, then, days later, one more: of the same genre, or of any."""
    generator = np.random.default_rng(0)
    events = []
    for user in range(users):
        genre = generator.integers(3)
        titles = [4 * genre + n for n in generator.permutation(4)]
        late = generator.integers(12) if returns_at_random else titles[2]
        start = generator.uniform(20, 30)
        events += [
            (f"u{user:04}", str(titles[0]), start),
            (f"u{user:04}", str(titles[1]), start - 0.0005),
            (f"u{user:04}", str(late), start - 10),
        ]
    data = build(events, TITLES)
    genres = np.eye(3, dtype=np.float32)[np.array([int(item) // 4 for item in data.item_ids.to_pylist()])] * 2
    return data.events, SumTowers(data.item_ids, genres)


def test_scores_shrink_where_users_come_back_for_anything():
    assert returning_weight(*reversed(world(600, returns_at_random=True)), seed=0) == 0.25


def test_scores_keep_their_size_where_users_come_back_for_more_of_the_same():
    events, towers = world(600, returns_at_random=False)
    # The query of two events is longer than that of one, so a little less force does the same.
    assert returning_weight(towers, events, seed=0) > 0.5


def test_too_few_moments_teach_nothing():
    events, towers = world(100, returns_at_random=True)
    assert returning_weight(towers, events, seed=0) == 1.0
