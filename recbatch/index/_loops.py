"""The selection that `_compiled` compiles, in the Python that numba reads: no types, no NumPy calls.

A loop that calls another is made by a function that takes the compiled other, since numba calls through closures.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbatch._compiling import CHUNK, LINE, STRETCH
from recbatch.kernels import Loop

APART = LINE // 4
"""Numbers behind each line of a block: lines a power of two apart would push each other out of the first cache."""
GROUP = 32
"""Most scores per group: the k best group maxima bound the k-th best score from below, for one pass over the scores."""

SPARE = 16
"""One in so many more than k are not worth telling apart."""


def exclude(nothing: np.generic) -> Loop:
    """Marks the exclusions inside a block's line, of so many candidates, and returns the first one behind it."""

    def loop(scores, line, first, there, excluded, place, end):
        while place < end and excluded[place] < first:
            place += 1
        while place < end and excluded[place] < first + there:
            scores[line, excluded[place] - first] = nothing
            place += 1
        return place

    return loop


def maxima(scores, line, best, groups, members):
    """Maxima of strided groups: column j, j + groups, …; a remainder of the line is left out."""
    for group in range(groups):
        best[0, group] = np.float32(scores[line, group])
    for member in range(1, members):
        for group in range(groups):
            a, b = best[0, group], np.float32(scores[line, member * groups + group])
            best[0, group] = b if b > a else a


class Measures(NamedTuple):
    """What stands in the place of scores: the scores, or sums of products of bytes, which are compared as they are."""

    nothing: np.generic
    """Stands where no score is wanted."""
    least: Loop
    """What every score from a floor on has at least, of a query with its start, step and base; see `_rounded`."""
    score: Loop
    """The score; where it is a sum, nearly: within what the query's bound says."""


def _itself(starts, steps, bases, row, value):
    return value


def _least_sum(starts, steps, bases, row, floor):
    """One less than the arithmetic says, which rounds; `_NO_SUM` itself is never reached."""
    step = np.float64(steps[row])
    least = np.floor((np.float64(floor) - np.float64(bases[row])) / step) - np.float64(starts[row]) - 1
    if not least > _NO_SUM + 1:
        return np.int32(_NO_SUM + 1)
    return np.int32(min(least, np.float64(-_NO_SUM - 1)))


def _score_of_sum(starts, steps, bases, row, total):
    return bases[row] + steps[row] * (np.float32(starts[row]) + np.float32(total))


_NO_SUM = -(2**31)
SCORES = Measures(np.float32(-np.inf), _itself, _itself)
SUMS = Measures(np.int32(_NO_SUM), _least_sum, _score_of_sum)


def ordered(value):
    """A number as an integer of the same order; see `unordered`."""
    bits = np.int64(np.float32(value).view(np.int32))
    return bits if bits >= 0 else np.int64(-0x80000000) - bits


def unordered(bits):
    """The number of an integer of `ordered`."""
    return np.int32(bits if bits >= 0 else np.int64(-0x80000000) - bits).view(np.float32)


def bound(at_least: Loop, ones: Loop, highest: Loop, ordered: Loop, unordered: Loop) -> Loop:
    """A number that at least k of a row's values reach, and few more, by bisection; `floor` where k do not reach it."""

    def loop(values, row, count, k, floor):
        chunks = (count + CHUNK - 1) // CHUNK
        values[row, count : chunks * CHUNK] = -np.inf
        low, high = ordered(floor), ordered(highest(values, row, chunks))
        reached = 0
        for chunk in range(chunks):
            reached += ones(at_least(values, row, chunk * CHUNK, floor))
        while reached >= k and high - low > 1:
            middle = (low + high) // 2
            reached = 0
            for chunk in range(chunks):
                reached += ones(at_least(values, row, chunk * CHUNK, unordered(middle)))
            if reached < k:
                high, reached = middle, k
            else:
                low = middle
                if reached <= k + k // SPARE:
                    break
        return unordered(low)

    return loop


def drop_below(values, items, row, count, floor):
    kept = 0
    for i in range(count):  # without a branch, which would be guessed wrong for every other value
        value = values[row, i]
        values[row, kept], items[row, kept] = value, items[row, i]
        kept += np.int64(value >= floor)
    return kept


def last_kept(keys, count, k):
    """The k-th smallest key, bit by bit."""
    last, step = np.uint64(0), np.uint64(1) << np.uint64(63)
    while step > np.uint64(0):
        below = 0
        for i in range(count):
            below += np.int64(keys[i] < last + step)
        if below < k:
            last += step
        step >>= np.uint64(1)
    return last


def keep_best(dot: Loop, key: Loop, name: Loop, last_kept: Loop) -> Loop:
    """Cuts the survivors of one query to its k best by exact score; gives their number and the worst score."""

    def loop(queries, row, candidates, names, values, items, count, k, keys):
        for i in range(count):
            keys[i] = key(dot(queries, row, candidates, items[row, i]), name(names, items[row, i]))
        last, kept = last_kept(keys, count, k), 0
        for i in range(count):
            if keys[i] <= last:
                values[row, kept], items[row, kept] = values[row, i], items[row, i]
                kept += 1
        worst = np.float32(np.inf)
        for i in range(kept):
            worst = min(worst, dot(queries, row, candidates, items[row, i]))
        return kept, worst

    return loop


def append(at_least: Loop, first_bit: Loop, score_of: Loop) -> Loop:
    """Adds what reaches a floor, of a chunk of a line, to the survivors of a row; how many it then has."""

    def loop(scores, line, start, least, starts, steps, bases, row, values, items, count, first):
        bits = at_least(scores, line, start, least)
        while bits:
            column = start + first_bit(bits)
            values[row, count] = score_of(starts, steps, bases, row, scores[line, column])
            items[row, count] = first + column
            count += 1
            bits &= bits - np.uint64(1)
        return count

    return loop


def select(
    exclude: Loop, maxima: Loop, bound: Loop, any_at_least: Loop, append: Loop, drop_below: Loop, keep_best: Loop,
    of: Measures,
) -> Loop:  # fmt: skip
    """Looks through the scores of some queries, see `Measures`, and keeps what may be among the k best.

    Line by line the query `who[low + line]` and the candidates from `first` on, so many as are `there`.

    Gives the number of scores that had to be told apart one by one on the way.

    Rows are indexed, never cut out: numba counts the references to every cut.
    """
    nothing, least_of, score_of = of

    def loop(
        scores, starts, steps, bases, who, low, high, first, there, k, queries, candidates, names, ends, excluded,
        slack, values, items, counts, floors, next_excluded, best, keys,
    ):  # fmt: skip
        room, width = values.shape[1], (there + STRETCH - 1) // STRETCH * STRETCH
        members, scored = max(1, min(GROUP, width // (2 * k))), 0
        groups = width // members
        for line in range(high - low):
            row = who[low + line]
            floor, count = floors[row], counts[row]
            scores[line, there:width] = nothing
            next_excluded[row] = exclude(scores, line, first, there, excluded, next_excluded[row], ends[row])
            if count < k:
                maxima(scores, line, best, groups, members)
                for number in range(groups):
                    best[0, number] = score_of(starts, steps, bases, row, best[0, number])
                floor = max(floor, bound(best, np.int64(0), groups, k, floor) - slack[row])
            least = least_of(starts, steps, bases, row, floor)
            for start in range(0, width, CHUNK):
                if start % STRETCH == 0:
                    any_there = any_at_least(scores, line, start, least)
                if not any_there:
                    continue
                count = append(scores, line, start, least, starts, steps, bases, row, values, items, count, first)
                if count <= room - CHUNK:
                    continue
                floor = max(floor, bound(values, row, count, k, floor) - slack[row])
                count = drop_below(values, items, row, count, floor)
                if count > room - CHUNK:  # scores that rounding cannot tell apart
                    scored += count
                    count, worst = keep_best(queries, row, candidates, names, values, items, count, k, keys)
                    floor = max(floor, worst - slack[row])
                least = least_of(starts, steps, bases, row, floor)
            floors[row], counts[row] = floor, count
        return scored

    return loop
