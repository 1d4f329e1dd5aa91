"""Queries past candidates: all of them past all, or each past the leaves that it visits; see `_loops`."""

from __future__ import annotations

import numpy as np

from recbatch.index._loops import APART
from recbatch.kernels import Loop


def put_columns(words, row, packed, group, line):
    """A query into a group, dimension by dimension: shape (groups, words, queries of a group)."""
    for place in range(packed.shape[1]):
        packed[group, place, line] = words[row, place]


def put_rows(words, row, packed, group, line):
    """A query into a group, register by register: shape (groups, depth · queries of a group, words of a register)."""
    depth = packed.shape[2]
    rows = packed.shape[1] * depth // words.shape[1]
    for part in range(words.shape[1] // depth):
        for place in range(depth):
            packed[group, part * rows + line, place] = words[row, part * depth + place]


def of_floats(products: Loop) -> Loop:
    """As `byte_products`."""

    def loop(packed, group, panels, panel, scores, column):
        products(packed, group, 0, panels, panel, scores, 0, column)

    return loop


def nothing_to_begin(shapes):
    """Where no registers have shapes."""


def nothing_to_end():
    """Where no registers have shapes."""


def search(begin: Loop, put: Loop, products: Loop, select: Loop, end: Loop) -> Loop:
    """See `_compiled.search`."""

    def loop(
        shapes, queries, candidates, names, panels, words, starts, steps, bases, packed, scores, who, k, ends, excluded,
        slack, values, items, counts, floors, next_excluded, best, keys,
    ):  # fmt: skip
        begin(shapes)
        rows, width, columns = scores.shape[0], scores.shape[1] - APART, panels.shape[2]
        at_once, scored = width // columns, 0
        for row in range(len(queries)):
            put(words, row, packed, row // rows, row % rows)
        for start in range(0, len(panels), at_once):
            first, last = start * columns, min(start + at_once, len(panels))
            there = min(width, len(candidates) - first)
            for low in range(0, len(queries), rows):
                for panel in range(start, last):
                    products(packed, low // rows, panels, panel, scores, (panel - start) * columns)
                scored += select(
                    scores, starts, steps, bases, who, low, min(low + rows, len(queries)), first, there, k, queries,
                    candidates, names, ends, excluded, slack, values, items, counts, floors, next_excluded, best, keys,
                )  # fmt: skip
        end()
        return scored

    return loop


def visit(begin: Loop, put: Loop, products: Loop, select: Loop, end: Loop) -> Loop:
    """See `_compiled.visit`."""

    def loop(
        shapes, queries, candidates, names, panels, words, starts, steps, bases, packed, scores, who, k, ends, excluded,
        slack, values, items, counts, floors, next_excluded, best, keys, firsts, lasts, visitors,
    ):  # fmt: skip
        begin(shapes)
        rows, widest, columns, scored = scores.shape[0], scores.shape[1] - APART, panels.shape[2], 0
        for leaf in range(len(firsts)):
            for low in range(visitors[leaf], visitors[leaf + 1], rows):
                high = min(low + rows, visitors[leaf + 1])
                for place in range(low, high):
                    put(words, who[place], packed, 0, place - low)
                for first in range(firsts[leaf], lasts[leaf], widest):
                    there = min(widest, lasts[leaf] - first)
                    for column in range(0, there, columns):
                        products(packed, 0, panels, (first + column) // columns, scores, column)
                    scored += select(
                        scores, starts, steps, bases, who, low, high, first, there, k, queries, candidates, names, ends,
                        excluded, slack, values, items, counts, floors, next_excluded, best, keys,
                    )  # fmt: skip
        end()
        return scored

    return loop


def list_visitors(leaves, many, visitors, who):
    """Who visits each leaf, in the order of queries: from `visitors[leaf]` to `visitors[leaf + 1]` of `who`.

    Of each query's leaves, shape (B, most), the first `many` count.
    """
    visitors[:] = 0
    for row in range(len(leaves)):
        for place in range(many[row]):
            visitors[leaves[row, place] + 2] += 1
    for leaf in range(2, len(visitors)):
        visitors[leaf] += visitors[leaf - 1]
    for row in range(len(leaves)):
        for place in range(many[row]):
            leaf = leaves[row, place]
            who[visitors[leaf + 1]] = row
            visitors[leaf + 1] += 1


def excluded_there(leaves, many, offsets, items, leaf_of, place_of, marks, keys):
    """Exclusions that lie in leaves that their query visits: row in the upper half, place in the lower; how many."""
    found = 0
    for row in range(len(leaves)):
        for place in range(many[row]):
            marks[leaves[row, place]] = 1
        for place in range(offsets[row], offsets[row + 1]):
            item = items[place]
            keys[found] = (np.uint64(row) << np.uint64(32)) | np.uint64(place_of[item])
            found += np.int64(marks[leaf_of[item]])
        for place in range(many[row]):
            marks[leaves[row, place]] = 0
    return found
