"""The loops that `_compiled` compiles, in the Python that numba reads: no types, no NumPy calls.

A loop that calls another is made by a function that takes the compiled other, since numba calls through closures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Loop = Callable[..., Any]

LANES = 16
"""Partial sums of a score; see `_finalists.exact_scores`, which adds in the same order."""
GROUP = 32
"""Most scores per group: the k best group maxima bound the k-th best score from below, for one pass over the scores."""
CHUNK = 64
"""Scores compared at a time; a block is as wide as a whole number of chunks, the rest of it is -inf."""


def dot(lane_sums: Loop) -> Loop:
    """A score; see `_finalists.exact_scores`."""

    def loop(queries, row, candidates, item):
        width = queries.shape[1]
        rest = np.float32(0)
        for place in range(width - width % LANES, width):
            rest += queries[row, place] * candidates[item, place]
        return lane_sums(queries, row, candidates, item) + rest

    return loop


def key(score, item):
    """Ascending keys are descending scores, then ascending items."""
    bits = np.float32(score).view(np.uint32)
    bits = bits if bits >> np.uint32(31) else (~bits) & np.uint32(0x7FFFFFFF)
    return (np.uint64(bits) << np.uint64(32)) | np.uint64(item)


def exclude(line, first, excluded, place, end):
    """Marks the exclusions inside the block and returns the first one behind it."""
    while place < end and excluded[place] < first + len(line):
        line[excluded[place] - first] = -np.inf
        place += 1
    return place


def maxima(line, best, members):
    """Maxima of strided groups: column j, j + groups, …; a remainder of the line is left out."""
    groups = len(best)
    for group in range(groups):
        best[group] = line[group]
    for member in range(1, members):
        part = line[member * groups : (member + 1) * groups]
        for group in range(groups):
            a, b = best[group], part[group]
            best[group] = b if b > a else a


def bound(values, k):
    """A number that at least k of the values reach, and few more: by bisection; the lowest float where k are not."""
    high, low = values[0], values[0]
    for i in range(len(values)):
        value = values[i]
        high = value if value > high else high
        low = value if value < low else low
    lowest = np.float32(np.finfo(np.float32).min)
    low = low if low > lowest else lowest
    count = np.int32(0)
    for i in range(len(values)):
        count += np.int32(values[i] >= low)
    if count < k:
        return lowest
    for _ in range(24):
        middle = low + (high - low) * np.float32(0.5)
        if not (middle > low and middle < high):
            break
        count = np.int32(0)
        for i in range(len(values)):
            count += np.int32(values[i] >= middle)
        if count >= k:
            low = middle
            if count <= k + k // 16:
                break
        else:
            high = middle
    return low


def drop_below(values, items, count, floor):
    kept = 0
    for i in range(count):  # without a branch, which would be guessed wrong for every other value
        value = values[i]
        values[kept], items[kept] = value, items[i]
        kept += np.int64(value >= floor)
    return kept


def keep_best(dot: Loop, key: Loop) -> Loop:
    """Cuts the survivors of one query to its k best by exact score; gives their number and the worst score."""

    def loop(queries, row, candidates, values, items, count, k):
        keys = np.empty(count, dtype=np.uint64)
        for i in range(count):
            keys[i] = key(dot(queries, row, candidates, items[i]), items[i])
        last, step = np.uint64(0), np.uint64(1) << np.uint64(63)
        while step > np.uint64(0):  # the k-th smallest key, bit by bit
            below = 0
            for i in range(count):
                below += np.int64(keys[i] < last + step)
            if below < k:
                last += step
            step >>= np.uint64(1)
        kept = 0
        for i in range(count):
            if keys[i] <= last:
                values[kept], items[kept] = values[i], items[i]
                kept += 1
        worst = np.float32(np.inf)
        for i in range(kept):
            worst = min(worst, dot(queries, row, candidates, items[i]))
        return kept, worst

    return loop


def select(
    exclude: Loop, maxima: Loop, bound: Loop, at_least: Loop, first_bit: Loop, drop_below: Loop, keep_best: Loop
) -> Loop:
    """See `_compiled.select`."""

    def loop(
        scores, first, k, queries, candidates, ends, excluded, slack, values, items, counts, floors, next_excluded
    ):
        width, room = scores.shape[1], values.shape[1]
        members = max(1, min(GROUP, width // (2 * k)))
        best = np.empty(width // members, dtype=np.float32)
        for row in range(len(scores)):
            line, value, item = scores[row], values[row], items[row]
            next_excluded[row] = exclude(line, first, excluded, next_excluded[row], ends[row])
            floor, count = floors[row], counts[row]
            if count < k:
                maxima(line, best, members)
                floor = max(floor, bound(best, k) - slack[row])
            for place in range(width // CHUNK):
                start = place * CHUNK
                bits = at_least(scores, row, start, floor)
                if bits == np.uint64(0):
                    continue
                while bits:
                    column = start + first_bit(bits)
                    value[count], item[count] = line[column], first + column
                    count += 1
                    bits &= bits - np.uint64(1)
                if count > room - CHUNK:
                    floor = max(floor, bound(value[:count], k) - slack[row])
                    count = drop_below(value, item, count, floor)
                if count > room - CHUNK:  # scores that rounding cannot tell apart
                    count, worst = keep_best(queries, row, candidates, value, item, count, k)
                    floor = max(floor, worst - slack[row])
            if count > k + k // 4:
                floor = max(floor, bound(value[:count], k) - slack[row])
                count = drop_below(value, item, count, floor)
            floors[row], counts[row] = floor, count

    return loop


def score(dot: Loop) -> Loop:
    """See `_compiled.scores_of`."""

    def loop(queries, candidates, rows, columns, scores):
        for i in range(len(rows)):
            scores[i] = dot(queries, rows[i], candidates, columns[i])

    return loop


def keys(dot: Loop, key_of: Loop) -> Loop:
    """See `_compiled.keys_of`."""

    def loop(queries, candidates, items, counts, keys):
        for row in range(len(queries)):
            for i in range(counts[row]):
                keys[row, i] = key_of(dot(queries, row, candidates, items[row, i]), items[row, i])
            for i in range(counts[row], keys.shape[1]):
                keys[row, i] = np.uint64(0xFFFFFFFFFFFFFFFF)

    return loop


def keys_among(dot: Loop, key_of: Loop) -> Loop:
    """See `_compiled.keys_among`."""

    def loop(queries, candidates, found, fetched, k, slack, first, end, excluded, keys, counts):
        for row in range(len(queries)):
            line, count = fetched[row], 0
            descending = True
            for i in range(1, len(line)):
                descending &= not (line[i] > line[i - 1])
            floor = -np.float32(np.inf)
            for i in range(len(line)):
                if not np.isfinite(line[i]):
                    continue
                if line[i] < floor:
                    break
                item = np.int64(found[row, i])
                low, high = first[row], end[row]
                while low < high:
                    middle = (low + high) // 2
                    if excluded[middle] < item:
                        low = middle + 1
                    else:
                        high = middle
                if low < end[row] and excluded[low] == item:
                    continue
                keys[row, count] = key_of(dot(queries, row, candidates, item), item)
                count += 1
                if count == k and descending:
                    floor = line[i] - slack[row]
            counts[row] = count
            for i in range(count, keys.shape[1]):
                keys[row, i] = np.uint64(0xFFFFFFFFFFFFFFFF)

    return loop
