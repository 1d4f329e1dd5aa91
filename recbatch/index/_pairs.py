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


def score_listed(dot: Loop, fetch: Loop) -> Loop:
    """Scores the candidates of a list from a place on, and gives the worst."""

    def loop(queries, row, candidates, listed, first, count, scores):
        worst = np.float32(np.inf)
        for i in range(first, min(first + _AHEAD, count)):
            fetch(candidates, listed[0, i])
        for i in range(first, count):
            if i + _AHEAD < count:
                fetch(candidates, listed[0, i + _AHEAD])
            scores[0, i] = dot(queries, row, candidates, listed[0, i])
            worst = min(worst, scores[0, i])
        return worst

    return loop


def best_scored(score_listed: Loop, bound: Loop, drop_below: Loop) -> Loop:
    """Scores the k best of a query and few others; how many.

    The k best by what is known of them come first: the worst of their scores leaves few others to be scored.
    """

    def loop(queries, row, candidates, values, items, count, floor, slack, k, enough, scores, listed):
        known, some = np.float32(-np.inf), 0
        if count > enough:
            known = bound(values, row, count, k, floor)
        for i in range(count):
            listed[0, some] = items[row, i]
            some += np.int64(values[row, i] >= known)
        worst, first = score_listed(queries, row, candidates, listed, 0, some, scores), some
        if first < count:
            least = worst - slack / np.float32(2)
            for i in range(count):
                listed[0, some] = items[row, i]
                some += np.int64((values[row, i] < known) & (values[row, i] >= least))
            score_listed(queries, row, candidates, listed, first, some, scores)
        if some > enough:
            some = drop_below(scores, listed, np.int64(0), some, bound(scores, np.int64(0), some, k, worst))
        return some

    return loop


def keys(best_scored: Loop, key_of: Loop, name: Loop, last_kept: Loop) -> Loop:
    """See `_compiled.keys_of`."""

    def loop(
        queries, candidates, names, values, items, counts, floors, slack, k, enough, scores, listed, keys, best
    ):  # fmt: skip
        for row in range(len(queries)):
            count = best_scored(
                queries, row, candidates, values, items, counts[row], floors[row], slack[row], k, enough, scores, listed
            )
            for i in range(count):
                keys[i] = key_of(scores[0, i], name(names, listed[0, i]))
            last, kept = np.uint64(0xFFFFFFFFFFFFFFFF), 0
            if count > best.shape[1]:  # of the same score
                last = last_kept(keys, count, k)
            for i in range(count):
                if keys[i] <= last:
                    best[row, kept] = keys[i]
                    kept += 1
            best[row, kept:] = np.uint64(0xFFFFFFFFFFFFFFFF)
            counts[row] = kept

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
