"""The compiled twin of `towers`: event vectors added up from the newest back, in the same order of operations."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from recbatch import _compiling
from recbatch.contracts import EventFactors, Events, Float32s


def sums(factors: EventFactors, histories: Events, reach: int) -> Float32s:
    """Shape (users, d): Σ of each user's event vectors.

    Args:
        factors: of these histories.
        histories: `items` index the vocabulary.
        reach: events of a user that count, the newest.
    """
    total = np.zeros((histories.num_users, factors.vectors.shape[1]), np.float32)
    _kernel()(*factors.flat, histories.items, histories.offsets, reach, total)
    return total


@functools.cache
def _kernel() -> Any:
    import numba

    _compiling.compiled()
    return numba.njit(nogil=True)(_loop)


def _loop(vectors: Any, starts: Any, ends: Any, weights: Any, items: Any, offsets: Any, reach: Any, total: Any) -> None:
    for user in range(len(total)):
        for event in range(offsets[user + 1] - 1, max(offsets[user], offsets[user + 1] - reach) - 1, -1):
            item = items[event]
            for part in range(len(starts)):
                weight = weights[part, event]
                for i in range(starts[part], ends[part]):
                    total[user, i] += vectors[item, i] * weight
