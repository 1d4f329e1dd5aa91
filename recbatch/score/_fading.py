"""The compiled twin of `trend._add`: one walk over the events for all half-lives of a chain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recbatch.contracts import Int32s
from recbatch.kernels import Kernel

Float64s = npt.NDArray[np.float64]


def add(items: Int32s, weights: Float64s, faded: Float64s, counts: Float64s) -> None:
    """Adds events to counts.

    Args:
        items: shape (events,).
        weights: shape (events,).
        faded: shape (events,): what is left of each by the longest half-life; each shorter one is its square.
        counts: shape (half-lives, titles), half-lives ascending; changed.
    """
    added = np.zeros(counts.shape[::-1])
    _FADE(items, weights, faded, added)
    counts += added.T


def _loop(items, weights, faded, added):  # type: ignore[no-untyped-def]
    for event in range(len(items)):
        item, left = items[event], faded[event]
        for place in range(added.shape[1] - 1, -1, -1):
            added[item, place] += weights[event] * left
            left *= left


_FADE = Kernel("fade", "void(int32[::1], float64[::1], float64[::1], float64[:,::1])", lambda: _loop)
