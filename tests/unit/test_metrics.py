"""Arithmetic of the metrics, written out as fractions."""

import math

import numpy as np
import pytest

from recbatch import metrics

# user 0: held out 3, found at ranks 1 and 4; user 1: one, at rank 2; user 2: two, none found.
RANKS = np.array([1, 4, 0, 2, 0, 0], dtype=np.int32)
USER_OF = np.array([0, 0, 0, 1, 2, 2], dtype=np.int32)


def second(rank):
    return 1 / math.log2(rank + 1)


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        ("recall", 1, [1 / 1, 0, 0]),
        ("recall", 2, [1 / 2, 1 / 1, 0]),
        ("recall", 4, [2 / 3, 1 / 1, 0]),
        ("hit_rate", 1, [1, 0, 0]),
        ("hit_rate", 4, [1, 1, 0]),
        ("precision", 4, [2 / 4, 1 / 4, 0]),
        ("map", 4, [(1 / 1 + 2 / 4) / 3, (1 / 2) / 1, 0]),
        ("map", 1, [(1 / 1) / 3, 0, 0]),
        ("mrr", 4, [1, 1 / 2, 0]),
        ("mrr", 1, [1, 0, 0]),
        ("ndcg", 2, [second(1) / (second(1) + second(2)), second(2) / second(1), 0]),
        ("ndcg", 4, [(second(1) + second(4)) / (second(1) + second(2) + second(3)), second(2) / second(1), 0]),
    ],
)
def test_per_user(metric, k, expected):
    assert metrics.PER_USER[metric](RANKS, USER_OF, 3, k) == pytest.approx(expected)


def test_a_perfect_list_scores_one_everywhere():
    ranks = np.arange(1, 6, dtype=np.int32)
    for name in ("recall", "ndcg", "hit_rate", "mrr"):
        assert metrics.PER_USER[name](ranks, np.zeros(5, np.int32), 1, 5) == pytest.approx([1])


def test_the_interval_holds_the_mean_and_narrows_with_users():
    generator = np.random.default_rng(0)
    few, many = generator.normal(size=(50, 1)), generator.normal(size=(5000, 1))
    widths = []
    for values in (few, many):
        low, high = metrics.bootstrap_intervals(values, 500, seed=1)
        assert low[0] < values.mean() < high[0]
        widths.append(high[0] - low[0])
    # The width of a normal mean's 95 % interval is 2 * 1.96 / sqrt(n).
    assert widths[0] == pytest.approx(3.92 / math.sqrt(50), rel=0.3)
    assert widths[1] == pytest.approx(3.92 / math.sqrt(5000), rel=0.3)


def test_paired_columns_share_their_resamples():
    values = np.random.default_rng(1).normal(size=(100, 1))
    both = np.concatenate([values, values, values - values], axis=1)
    low, high = metrics.bootstrap_intervals(both, 200, seed=0)
    assert low[0] == low[1]
    assert high[0] == high[1]
    assert low[2] == high[2] == 0
