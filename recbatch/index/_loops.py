"""The loops that `_compiled` compiles, in the Python that numba reads: no types, no allocation inside, no NumPy calls.

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
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_BIT_OF = np.zeros(64, dtype=np.int8)
"""Number of the only bit of a word, by the top six bits of its product with a de Bruijn sequence."""
for _bit in range(64):
    _BIT_OF[((int(_DE_BRUIJN) << _bit) % 2**64) >> 58] = _bit


def dot(query, candidate):
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = b0 = b1 = b2 = b3 = b4 = b5 = b6 = b7 = np.float32(0)
    whole = len(query) - len(query) % LANES
    for start in range(0, whole, LANES):
        q, c = query[start : start + LANES], candidate[start : start + LANES]
        a0 += q[0] * c[0]
        a1 += q[1] * c[1]
        a2 += q[2] * c[2]
        a3 += q[3] * c[3]
        a4 += q[4] * c[4]
        a5 += q[5] * c[5]
        a6 += q[6] * c[6]
        a7 += q[7] * c[7]
        b0 += q[8] * c[8]
        b1 += q[9] * c[9]
        b2 += q[10] * c[10]
        b3 += q[11] * c[11]
        b4 += q[12] * c[12]
        b5 += q[13] * c[13]
        b6 += q[14] * c[14]
        b7 += q[15] * c[15]
    rest = np.float32(0)
    for place in range(whole, len(query)):
        rest += query[place] * candidate[place]
    a0, a1, a2, a3, a4, a5, a6, a7 = a0 + b0, a1 + b1, a2 + b2, a3 + b3, a4 + b4, a5 + b5, a6 + b6, a7 + b7
    return (((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))) + rest


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


def scan(line, floor, hit):
    """Numbers of the chunks that hold a score at or above the floor, ascending; returns how many."""
    hits = 0
    for place in range(len(line) // CHUNK):
        chunk = line[place * CHUNK : place * CHUNK + CHUNK]
        count = np.int32(0)
        for column in range(CHUNK):
            count += np.int32(chunk[column] >= floor)
        hit[hits] = place
        hits += np.int64(count > 0)
    return hits


def drop_below(values, items, count, floor):
    kept = 0
    for i in range(count):
        if values[i] >= floor:
            values[kept], items[kept] = values[i], items[i]
            kept += 1
    return kept


def keep_best(dot: Loop, key: Loop) -> Loop:
    """Cuts the survivors of one query to its k best by exact score; gives their number and the worst score."""

    def loop(query, candidates, values, items, count, k):
        keys = np.empty(count, dtype=np.uint64)
        for i in range(count):
            keys[i] = key(dot(query, candidates[items[i]]), items[i])
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
            worst = min(worst, dot(query, candidates[items[i]]))
        return kept, worst

    return loop


def select(exclude: Loop, maxima: Loop, bound: Loop, scan: Loop, drop_below: Loop, keep_best: Loop) -> Loop:
    """See `_compiled.select`."""

    def loop(
        scores, first, k, queries, candidates, ends, excluded, slack, values, items, counts, floors, next_excluded
    ):
        width, room = scores.shape[1], values.shape[1]
        members = max(1, min(GROUP, width // (2 * k)))
        best = np.empty(width // members, dtype=np.float32)
        hit = np.empty(width // CHUNK + 1, dtype=np.int32)
        for row in range(len(scores)):
            line, value, item = scores[row], values[row], items[row]
            next_excluded[row] = exclude(line, first, excluded, next_excluded[row], ends[row])
            floor, count = floors[row], counts[row]
            if count < k:
                maxima(line, best, members)
                floor = max(floor, bound(best, k) - slack[row])
            hits = scan(line, floor, hit)
            for place in range(hits):
                start = np.int64(hit[place]) * CHUNK
                chunk = line[start : start + CHUNK]
                bits = np.uint64(0)
                for column in range(CHUNK):
                    bits |= np.uint64(chunk[column] >= floor) << np.uint64(column)
                while bits:
                    lowest = bits & (~bits + np.uint64(1))
                    column = np.int64(_BIT_OF[(lowest * _DE_BRUIJN) >> np.uint64(58)])
                    value[count], item[count] = chunk[column], first + start + column
                    count += 1
                    bits ^= lowest
                if count > room - CHUNK:
                    floor = max(floor, bound(value[:count], k) - slack[row])
                    count = drop_below(value, item, count, floor)
                if count > room - CHUNK:  # scores that rounding cannot tell apart
                    count, worst = keep_best(queries[row], candidates, value, item, count, k)
                    floor = max(floor, worst - slack[row])
            if count > k + k // 8:
                floor = max(floor, bound(value[:count], k) - slack[row])
                count = drop_below(value, item, count, floor)
            floors[row], counts[row] = floor, count

    return loop


def score(dot: Loop) -> Loop:
    """See `_compiled.scores_of`."""

    def loop(queries, candidates, rows, columns, scores):
        for i in range(len(rows)):
            scores[i] = dot(queries[rows[i]], candidates[columns[i]])

    return loop


def keys(dot: Loop, key_of: Loop) -> Loop:
    """See `_compiled.keys_of`."""

    def loop(queries, candidates, items, counts, keys):
        for row in range(len(queries)):
            query = queries[row]
            for i in range(counts[row]):
                keys[row, i] = key_of(dot(query, candidates[items[row, i]]), items[row, i])
            for i in range(counts[row], keys.shape[1]):
                keys[row, i] = np.uint64(0xFFFFFFFFFFFFFFFF)

    return loop


def keys_among(dot: Loop, key_of: Loop) -> Loop:
    """See `_compiled.keys_among`."""

    def loop(queries, candidates, found, fetched, k, slack, first, end, excluded, keys, counts):
        for row in range(len(queries)):
            query, line, count = queries[row], fetched[row], 0
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
                keys[row, count] = key_of(dot(query, candidates[item]), item)
                count += 1
                if count == k and descending:
                    floor = line[i] - slack[row]
            counts[row] = count
            for i in range(count, keys.shape[1]):
                keys[row, i] = np.uint64(0xFFFFFFFFFFFFFFFF)

    return loop
