"""Ranking metrics: per user first, then averaged; pure NumPy.

Everything starts from the ranks of held-out items: `ranks[i]` is the 1-based rank of the i-th held-out (user, item) in
its user's list, 0 where the list does not hold it; `user_of[i]` is its user, numbered 0..users-1. Relevance is binary.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from recbatch.contracts import Int32s

Float64s = npt.NDArray[np.float64]
_RESAMPLES_AT_ONCE = 32


def _held_out(user_of: Int32s, users: int) -> Float64s:
    return np.bincount(user_of, minlength=users).astype(np.float64)


def _hits(ranks: Int32s, user_of: Int32s, users: int, k: int) -> Float64s:
    hit = (ranks > 0) & (ranks <= k)
    return np.asarray(np.bincount(user_of, weights=hit, minlength=users), dtype=np.float64)


def recall(ranks: Int32s, user_of: Int32s, users: int, k: int) -> Float64s:
    """Hits / min(k, held out): shape (users,). With one held-out item this is the hit rate."""
    return _hits(ranks, user_of, users, k) / np.minimum(k, np.maximum(_held_out(user_of, users), 1))


def hit_rate(ranks: Int32s, user_of: Int32s, users: int, k: int) -> Float64s:
    """1 where at least one held-out item is in the top k: shape (users,)."""
    return (_hits(ranks, user_of, users, k) > 0).astype(np.float64)


def precision(ranks: Int32s, user_of: Int32s, users: int, k: int) -> Float64s:
    """Hits / k: shape (users,). A list shorter than k is not forgiven."""
    return _hits(ranks, user_of, users, k) / k


def ndcg(ranks: Int32s, user_of: Int32s, users: int, k: int) -> Float64s:
    """Normalised discounted cumulative gain with binary gain: shape (users,).

    sum over hits of 1 / log2(rank + 1), divided by the same sum for min(k, held out) hits at the top
    (Järvelin and Kekäläinen 2002, TOIS 20(4), section 2.2, with base 2).
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    hit = (ranks > 0) & (ranks <= k)
    gained = np.bincount(user_of[hit], weights=discounts[ranks[hit] - 1], minlength=users)
    ideal = np.cumsum(discounts)[np.minimum(k, np.maximum(_held_out(user_of, users), 1)).astype(int) - 1]
    return np.asarray(gained / ideal, dtype=np.float64)


def mrr(ranks: Int32s, user_of: Int32s, users: int, k: int) -> Float64s:
    """1 / rank of the first hit within the top k, 0 without one: shape (users,)."""
    best = np.zeros(users)
    hit = (ranks > 0) & (ranks <= k)
    np.maximum.at(best, user_of[hit], 1 / ranks[hit])
    return best


def average_precision(ranks: Int32s, user_of: Int32s, users: int, k: int) -> Float64s:
    """Sum over hits of the precision at their rank, divided by the number held out: shape (users,).

    trec_eval's map_cut (Buckley and Voorhees 2005, "Retrieval system evaluation", section 3.2): a user with more held
    out than k cannot reach 1.
    """
    hit = np.flatnonzero((ranks > 0) & (ranks <= k))
    order = hit[np.lexsort((ranks[hit], user_of[hit]))]
    user, rank = user_of[order], ranks[order]
    first = np.searchsorted(user, user)  # where each user's hits begin
    precisions = (np.arange(len(user)) - first + 1) / rank
    return np.bincount(user, weights=precisions, minlength=users) / np.maximum(_held_out(user_of, users), 1)


PER_USER: dict[str, Callable[[Int32s, Int32s, int, int], Float64s]] = {
    "recall": recall,
    "ndcg": ndcg,
    "map": average_precision,
    "hit_rate": hit_rate,
    "precision": precision,
    "mrr": mrr,
}
"""Every metric by its name in the table `metrics`."""


def rmse(squares: Float64s, counts: Float64s) -> float:
    """Root of the mean squared error over all events.

    Args:
        squares: shape (users,), the sum of a user's squared errors.
        counts: shape (users,), of how many events.
    """
    return float(np.sqrt(squares.sum() / counts.sum()))


def rmse_interval(squares: Float64s, counts: Float64s, samples: int, seed: int) -> tuple[float, float]:
    """Its 95 % percentile bootstrap interval over users, whose events stay together; same seed, same resamples."""
    generator, users = np.random.default_rng(seed), len(counts)
    found = np.empty(samples)
    for sample in range(samples):
        drawn = generator.integers(users, size=users)
        found[sample] = rmse(squares[drawn], counts[drawn])
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_intervals(values: Float64s, samples: int, seed: int) -> tuple[Float64s, Float64s]:
    """95 % percentile bootstrap intervals of means over users (Efron and Tibshirani 1993, chapter 13).

    All columns share the resamples, so a column of paired differences gets a paired interval.

    Args:
        values: shape (users, columns), at least one user.
        samples: resamples.
        seed: of the resampling.

    Returns:
        (low, high), each of shape (columns,): the 2.5th and 97.5th percentile of the resampled means.
    """
    generator, users = np.random.default_rng(seed), len(values)
    means = np.empty((samples, values.shape[1]))
    times = np.empty((min(samples, _RESAMPLES_AT_ONCE), users))  # how often each user was drawn
    for first in range(0, samples, len(times)):
        some = times[: samples - first]
        for drawn in some:
            drawn[:] = np.bincount(generator.integers(users, size=users), minlength=users)
        means[first : first + len(some)] = some @ values / users
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    middle = values.mean(axis=0)  # of a constant, resampled means may differ from it in the last bit
    return np.minimum(low, middle), np.maximum(high, middle)
