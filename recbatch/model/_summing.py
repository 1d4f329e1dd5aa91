"""The compiled twin of `towers`: event vectors added up from the newest back, in the same order of operations."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbatch import _compiling
from recbatch.contracts import EventFactors, Events, Float32s
from recbatch.kernels import Kernel

_AHEAD = 4
"""Events, of which the vectors are asked for before they are wanted."""


def sums(factors: EventFactors, histories: Events, reach: int) -> Float32s:
    """Shape (users, d): Σ of each user's event vectors.

    Args:
        factors: of these histories.
        histories: `items` index the vocabulary.
        reach: events of a user that count, the newest.
    """
    total = np.zeros((histories.num_users, factors.vectors.shape[1]), np.float32)
    _SUM(*factors.flat, histories.items, histories.offsets, reach, total)
    return total


def _loop(add_scaled: Any, fetch: Any) -> Any:
    def loop(  # type: ignore[no-untyped-def]
        vectors, starts, ends, weights, items, offsets, reach, total
    ):
        for user in range(len(total)):
            first = max(offsets[user], offsets[user + 1] - reach)
            for event in range(offsets[user + 1] - 1, first - 1, -1):
                if event >= first + _AHEAD:
                    fetch(vectors, items[event - _AHEAD])
                item = items[event]
                for part in range(len(starts)):
                    weight, start, end = weights[part, event], starts[part], ends[part]
                    add_scaled(total, user, vectors, item, weight, start, end)
                    for i in range(end - (end - start) % _compiling.LANES, end):
                        total[user, i] += vectors[item, i] * weight

    return loop


def _sum() -> Any:
    from recbatch import _vectors

    return _loop(_vectors.add_scaled, _vectors.fetch)


_SUM = Kernel(
    "sum",
    "void(float32[:,::1], int64[::1], int64[::1], float32[:,::1], int32[::1], int64[::1], int64, float32[:,::1])",
    _sum,
)
