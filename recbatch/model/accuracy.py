"""Top-k accuracy by full ranking, the figure of the TensorFlow Recommenders tutorial."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recbatch.contracts import Events, Towers

_USERS_AT_A_TIME = 512


def acc_at_k(
    towers: Towers, train: Events, test: Events, ks: Sequence[int] = (1, 5, 10, 50, 100), *, exclude_seen: bool = True
) -> dict[int, float]:
    """Share of held-out (user, title) pairs whose title is among its user's k best of the whole vocabulary.

    Args:
        towers: the model.
        train: histories; `items` index the vocabulary.
        test: held-out events of the same users. A title outside the vocabulary has item -1 and counts as a miss.
        ks: cut-offs.
        exclude_seen: whether titles of the history are taken out of the ranking.

    Returns:
        k → accuracy. Equal scores rank by position.
    """
    ranks = [
        _ranks(
            towers,
            train.of_users(slice(start, start + _USERS_AT_A_TIME)),
            test.of_users(slice(start, start + _USERS_AT_A_TIME)),
            exclude_seen,
        )
        for start in range(0, test.num_users, _USERS_AT_A_TIME)
    ]
    found = np.concatenate(ranks) if ranks else np.empty(0)
    return {k: float(np.mean(found < k)) if len(found) else 0.0 for k in ks}


def _ranks(towers: Towers, train: Events, test: Events, exclude_seen: bool) -> np.ndarray:
    scores = towers.embed(train) @ towers.candidates.T
    if exclude_seen:
        scores[train.users_of_events(), train.items] = -np.inf
    users, items = test.users_of_events(), test.items
    ranks = np.empty(len(items))
    for start in range(0, len(items), _USERS_AT_A_TIME):
        rows, wanted = users[start : start + _USERS_AT_A_TIME], items[start : start + _USERS_AT_A_TIME]
        target = scores[rows, wanted][:, None]
        ahead = (scores[rows] > target) | ((scores[rows] == target) & (np.arange(scores.shape[1]) < wanted[:, None]))
        ranks[start : start + _USERS_AT_A_TIME] = np.where(wanted >= 0, ahead.sum(axis=1), np.inf)
    return ranks
