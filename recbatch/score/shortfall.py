"""Why some lists are short."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from recbatch.contracts import Dataset, Exclusions, Int64s
from recbatch.score.catalogue import exclusions
from recbatch.score.lists import Ranker

REASONS = ("catalogue_exhausted", "titles_denied", "few_eligible_titles", "capped")
"""Fewer than k titles are unseen; unseen and not denied; these and eligible; or caps leave room for no other."""


def shortfall_reasons(ranker: Ranker, data: Dataset, recommended: Int64s, k: int) -> pa.Array:
    """Why each user got fewer than k rows.

    Args:
        ranker: that made the lists.
        data: tonight's.
        recommended: shape (users,): rows of each.
        k: rows promised.

    Returns:
        Shape (users,): one of `REASONS`, the first that explains it; null for users with k rows.
    """
    short = np.flatnonzero(recommended < k)
    mine, eligible = data.events.of_users(short), ranker.rules.eligible
    barred = ranker.barred(mine, short.astype(np.int32))
    seen = np.zeros(len(short), dtype=np.int64) if ranker.keep_seen else _counts(exclusions(ranker.rules.seen(mine)))
    left = [data.num_items - seen, data.num_items - _counts(barred)]
    if eligible is not None:
        inside = np.concatenate([[0], np.cumsum(eligible[barred.items])])[barred.offsets]
        left.append(int(eligible.sum()) - np.diff(inside))
    explained = [amount < k for amount in left] + [np.ones(len(short), dtype=np.bool_)]
    which = np.argmax(np.stack(explained), axis=0)
    if eligible is None:
        which[which == len(left)] = REASONS.index("capped")
    reasons = np.full(data.num_users, -1, dtype=np.int64)
    reasons[short] = which
    return pa.array(REASONS).take(pa.array(reasons, mask=reasons < 0))


def _counts(exclude: Exclusions) -> Int64s:
    return np.asarray(np.diff(exclude.offsets), dtype=np.int64)
