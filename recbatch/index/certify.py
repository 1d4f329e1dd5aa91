"""The nightly certificate: recall of tonight's index against exact search, on tonight's users."""

from __future__ import annotations

import numpy as np

from recbatch.contracts import NO_ITEM, Certificate, Exclusions, Float32s, Index, Int64s
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
    there = truth != NO_ITEM
    hits = np.zeros(len(queries))
    for row in range(len(queries)):
        hits[row] = np.isin(truth[row][there[row]], found[row]).sum()
    possible = there.sum(axis=1)
    per_user = np.where(possible > 0, hits / np.maximum(possible, 1), 1.0)
    got = np.where(np.isfinite(scores), scores, 0).sum(axis=1, dtype=np.float64)
    could = np.where(np.isfinite(best), best, 0).sum(axis=1, dtype=np.float64)
    loss = (could - got) / np.maximum(np.abs(could), 1e-9)
    low, _ = bootstrap_intervals(per_user[:, None], _BOOTSTRAP, seed=0)
    return Certificate(
        engine=index.engine,
        k=k,
        users=len(queries),
        recall=float(per_user.mean()),
        ci_low=float(low[0]),
        worst_percentile=float(np.percentile(per_user, 1)),
        score_loss=float(loss.mean()),
        target=target,
    )


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
