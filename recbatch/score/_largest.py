"""The compiled twin of `because`: shares of all events in all recommended scores, summed in registers."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from recbatch import _compiling
from recbatch.contracts import EventFactors, Events, Float32s, Int32s


def largest(factors: EventFactors, histories: Events, candidates: Float32s, found: Int32s, slack: Float32s) -> Int32s:
    """Which event of its user, counted from the first, has the largest share: shape (B, k), 0 where nothing is found.

    Args:
        factors: of these histories.
        histories: B users with at least one event each.
        candidates: shape (candidates, dim).
        found: shape (B, k): recommended candidates, negative for none.
        slack: shape (B, k): how far two shares that are equal may lie apart.
    """
    kernel = _kernel()
    dim, panels = factors.vectors.shape[1], -(-found.shape[1] // kernel.columns)
    groups = -(-int(histories.counts.max(initial=0)) // kernel.together)
    which = np.zeros(found.shape, dtype=np.int32)
    kernel.loop(
        *factors.flat,
        histories.items,
        histories.offsets,
        candidates,
        found,
        slack,
        _compiling.zeros(1, dim, kernel.together),
        _compiling.zeros(panels, dim, kernel.columns),
        _compiling.zeros(groups * kernel.together, panels * kernel.columns),
        which,
    )
    return which


class _Kernel:
    def __init__(self) -> None:
        import numba

        from recbatch import _vectors

        jit = numba.njit(nogil=True)
        self.columns, self.together = _vectors.COLUMNS, math.lcm(_vectors.ROWS, _vectors.LENGTH)
        pack = jit(_pack(_vectors.turn, _vectors.LENGTH))
        leaf = numba.njit(nogil=True, inline="always")  # numba else compiles each by itself as well
        shares = leaf(_shares_of_user(_vectors.products, _vectors.ROWS, pack, leaf(_weigh)))
        self.loop = jit(_loop(shares, leaf(_two_best), leaf(_settle)))
        _compiling.compiled()


_kernel = functools.cache(_Kernel)


def _pack(turn: Any, length: Any) -> Any:
    """Rows of a matrix side by side: column c of the sheet is the row that stands at `first + c`, the last repeated."""

    def loop(matrix: Any, rows: Any, first: Any, end: Any, packed: Any, sheet: Any) -> None:
        width = packed.shape[1]
        some = np.empty((1, length), dtype=np.int32)
        for column in range(0, packed.shape[2], length):
            for i in range(length):
                some[0, i] = max(rows[min(first + column + i, end - 1)], 0)
            for start in range(0, width - width % length, length):
                turn(matrix, some, start, packed, sheet, column)
            for place in range(width - width % length, width):
                for i in range(length):
                    packed[sheet, place, column + i] = matrix[some[0, i], place]

    return loop


def _weigh(packed: Any, starts: Any, ends: Any, weights: Any, first: Any, count: Any) -> None:
    for part in range(len(starts)):
        for place in range(starts[part], ends[part]):
            for event in range(count):
                packed[0, place, event] *= weights[part, first + event]


def _shares_of_user(products: Any, at_once: Any, pack: Any, weigh: Any) -> Any:
    def loop(  # type: ignore[no-untyped-def]
        vectors, starts, ends, weights, items, first, end, candidates, listed, packed, panels, shares
    ):
        together, columns = packed.shape[2], panels.shape[2]
        for panel in range(len(panels)):
            pack(candidates, listed, panel * columns, len(listed), panels, panel)
        for start in range(first, end, together):
            count = min(together, end - start)
            pack(vectors, items, start, end, packed, 0)
            weigh(packed, starts, ends, weights, start, count)
            for row in range(0, count, at_once):
                for panel in range(len(panels)):
                    products(packed, 0, row, panels, panel, shares, start - first + row, panel * columns)

    return loop


def _two_best(shares: Any, count: Any, best: Any, second: Any, which: Any) -> None:
    """The largest share of each column, the first event that has it, and the next largest."""
    for place in range(len(best)):
        best[place], second[place], which[place] = -np.inf, -np.inf, 0
    for event in range(count):
        for place in range(len(best)):
            share, most, other, holder = shares[event, place], best[place], second[place], which[place]
            above = share > most
            lower = most if above else share
            second[place] = lower if lower > other else other
            best[place] = share if above else most
            which[place] = event if above else holder


def _settle(
    vectors: Any, starts: Any, ends: Any, weights: Any, items: Any, first: Any, candidate: Any, near: Any
) -> Any:
    """The first of the events near the largest share that has it in float64."""
    most, best = -np.inf, -1
    for event in range(len(near)):
        if not near[event]:
            continue
        share = 0.0
        for part in range(len(starts)):
            weight = weights[part, first + event]
            for i in range(starts[part], ends[part]):
                share += np.float64(vectors[items[first + event], i] * weight) * np.float64(candidate[i])
        if share > most:
            most, best = share, event
    return best


def _loop(shares_of_user: Any, two_best: Any, settle: Any) -> Any:
    def loop(  # type: ignore[no-untyped-def]
        vectors, starts, ends, weights, items, offsets, candidates, found, slack, packed, panels, shares, result
    ):
        best, second = np.empty(shares.shape[1], dtype=np.float32), np.empty(shares.shape[1], dtype=np.float32)
        which = np.empty(shares.shape[1], dtype=np.int32)
        for user in range(len(found)):
            first, count = offsets[user], offsets[user + 1] - offsets[user]
            shares_of_user(
                vectors, starts, ends, weights, items, first, first + count, candidates, found[user], packed, panels,
                shares,
            )  # fmt: skip
            two_best(shares, count, best, second, which)
            for place in range(found.shape[1]):
                floor, candidate = best[place] - slack[user, place], found[user, place]
                if second[place] >= floor and candidate >= 0:
                    near = shares[:count, place] >= floor
                    which[place] = settle(vectors, starts, ends, weights, items, first, candidates[candidate], near)
                result[user, place] = which[place]

    return loop
