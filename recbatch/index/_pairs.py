"""Loops over pairs of a query and a candidate that are named one by one; see `_loops`."""

from __future__ import annotations

import numpy as np

from recbatch._compiling import LANES
from recbatch.kernels import Loop

_AHEAD = 8
"""Candidates fetched before their turn: they lie anywhere."""


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


def score(dot: Loop) -> Loop:
    """See `_compiled.scores_of`."""

    def loop(queries, candidates, rows, columns, scores):
        for i in range(len(rows)):
            scores[i] = dot(queries, rows[i], candidates, columns[i])

    return loop


def itself(names, item):
    """A candidate's name where it is its position."""
    return item


def named(names, item):
    """A candidate's name where it is given."""
    return names[item]


def keys(dot: Loop, key_of: Loop, name: Loop, fetch: Loop) -> Loop:
    """See `_compiled.keys_of`."""

    def loop(queries, candidates, names, items, counts, keys):
        for row in range(len(queries)):
            for i in range(min(_AHEAD, counts[row])):
                fetch(candidates, items[row, i])
            for i in range(counts[row]):
                if i + _AHEAD < counts[row]:
                    fetch(candidates, items[row, i + _AHEAD])
                keys[row, i] = key_of(dot(queries, row, candidates, items[row, i]), name(names, items[row, i]))
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
