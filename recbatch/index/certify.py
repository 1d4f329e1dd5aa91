"""The nightly certificate: recall and score of tonight's index against exact search, on tonight's users."""

from __future__ import annotations

import numpy as np

from recbatch.contracts import NO_ITEM, Certificate, Exclusions, Float32s, Float64s, Index, Int32s, Int64s
from recbatch.metrics import bootstrap_intervals

_BOOTSTRAP = 200
_STRATA = 10


def certify(
    index: Index, oracle: Index, queries: Float32s, exclude: Exclusions, *, k: int, target: float
) -> Certificate:
    """Measures recall@k and loss of score against exact search.

    Args:
        index: what will be used.
        oracle: exact search over the same candidates.
        queries: shape (n, dim), n >= 1.
        exclude: what each query must not get.
        k: list length.
        target: recall to reach.

    Returns:
        The certificate; an exact engine's recall is measured too, not assumed.
    """
    found, scores = index.search(queries, k, exclude)
    truth, best = oracle.search(queries, k, exclude)
    per_user = recalls(found, truth, index.num_items)
    got = np.where(np.isfinite(scores), scores, 0).sum(axis=1, dtype=np.float64)
    could = np.where(np.isfinite(best), best, 0).sum(axis=1, dtype=np.float64)
    loss = (could - got) / np.maximum(np.abs(could), 1e-9)
    low, high = bootstrap_intervals(per_user[:, None], _BOOTSTRAP, seed=0)
    return Certificate(
        engine=index.engine,
        k=k,
        users=len(queries),
        recall=float(per_user.mean()),
        ci_low=float(low[0]),
        ci_high=float(high[0]),
        worst_percentile=float(np.percentile(per_user, 1)),
        score_loss=float(loss.mean()),
        worst_score_loss=float(np.percentile(loss, 99)),
        target=target,
    )


def recalls(found: Int32s, truth: Int32s, num_items: int) -> Float64s:
    """Share of the true positions that were found, 1 where there is nothing to find: shape (n,).

    Args:
        found: shape (n, k), NO_ITEM for none.
        truth: shape (n, k), NO_ITEM for none.
        num_items: one more than the largest position.
    """
    row = np.arange(len(truth), dtype=np.int64)[:, None] * num_items
    there = truth != NO_ITEM
    hit = np.isin(np.where(there, row + truth, -1), np.where(found != NO_ITEM, row + found, -2))
    possible = there.sum(axis=1)
    return np.where(possible > 0, hit.sum(axis=1) / np.maximum(possible, 1), 1.0)


def sample_users(history_lengths: Int64s, wanted: int, seed: int) -> Int64s:
    """Users to certify on: the same number from each tenth of history length, the heaviest user among them.

    Args:
        history_lengths: shape (users,); users without history have no query and are never drawn.
        wanted: how many at most.
        seed: of the draw.

    Returns:
        Sorted user positions.
    """
    eligible = np.flatnonzero(history_lengths)
    if len(eligible) <= wanted:
        return eligible
    by_length = eligible[np.argsort(history_lengths[eligible], kind="stable")]
    generator = np.random.default_rng(seed)
    drawn = [
        generator.choice(stratum, size=min(len(stratum), wanted // _STRATA), replace=False)
        for stratum in np.array_split(by_length[:-1], _STRATA)
    ]
    return np.sort(np.concatenate([*drawn, by_length[-1:]]))
