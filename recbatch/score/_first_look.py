"""Shares nearly, of vectors as `_looked_at` has them, and how far they may lie from the truth.

The bound is Cauchy-Schwarz on what rounding took from either side, part by part: with rounded vectors v' and c',
|v·c - v'·c'| <= |v - v'| |c| + |v'| |c - c'|.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recbatch.score._looked_at import FACTS, KEPT, LOST, MIDST, STEP

_LEAST = np.float32(2.0**-120)
_UPWARDS = np.float32(1 + 2.0**-20)
_SHORTEST = np.float32(2.0**-10)
"""Of a candidate's reach in the largest: the reach of a shorter one is overstated."""


def pack(turn: Any, length: Any) -> Any:
    """Rows of a matrix side by side: column c of the sheet is the row that stands at `first + c`, the last repeated.

    `some`, shape (1, length), is room to work in.
    """

    def loop(matrix: Any, rows: Any, line: Any, first: Any, end: Any, packed: Any, sheet: Any, some: Any) -> None:
        width = packed.shape[1]
        for column in range(0, packed.shape[2], length):
            for i in range(length):
                some[0, i] = max(rows[line, min(first + column + i, end - 1)], 0)
            for start in range(0, width - width % length, length):
                turn(matrix, some, start, packed, sheet, column)
            for place in range(width - width % length, width):
                for i in range(length):
                    packed[sheet, place, column + i] = matrix[some[0, i], place]

    return loop


def _measure(*, is_own: bool) -> Any:
    """How long the listed candidates are at most, and what rounding took from them at most, part by part.

    Steps are given in the candidate's own measure, where wanted: a candidate of half the length and loss of the largest
    has shares of half the reach, so shares twice as large have the same reach in all.
    """

    def loop(found: Any, user: Any, facts: Any, longest: Any, lost: Any, steps: Any, measures: Any) -> None:
        for part in range(len(longest)):
            length, loss = np.float32(0), np.float32(0)
            for place in range(found.shape[1]):
                one, column = max(found[user, place], 0), part * FACTS
                steps[part, place] = facts[one, column + STEP]
                loss = max(loss, facts[one, column + LOST])
                length = max(length, facts[one, column + KEPT] + facts[one, column + LOST])
            longest[part], lost[part] = max(length, _LEAST), max(loss, _LEAST)
        for place in range(found.shape[1]):
            one, most = max(found[user, place], 0), _SHORTEST
            for part in range(len(longest)):
                kept, loss = facts[one, part * FACTS + KEPT], facts[one, part * FACTS + LOST]
                most = max(most, (kept + loss) / longest[part], loss / lost[part])
            measures[0, place] = 1 / (most * _UPWARDS) if is_own else np.float32(1)
            for part in range(len(longest)):
                steps[part, place] *= measures[0, place]

    return loop


def _reach() -> Any:
    """How far a share of an event may lie from the truth, in any of the listed scores."""

    def loop(weights: Any, event: Any, facts: Any, title: Any, longest: Any, lost: Any, unit: Any) -> Any:
        reach = _LEAST
        for part in range(len(longest)):
            kept, loss = facts[title, part * FACTS + KEPT], facts[title, part * FACTS + LOST]
            apart = loss * longest[part] + kept * lost[part] + unit * (kept + loss) * longest[part]
            reach += abs(weights[part, event]) * apart
        return reach

    return loop


def look(gather: Any, ready: Any, tile: Any, at_once: Any, pack: Any, leaf: Any, *, in_bytes: bool) -> Any:
    """Shares of a user's events in the listed scores, nearly, the reach of each event, and what each score surely has.

    With bytes, in a measure of each score's own, see `_measure`.

    Args:
        gather: brings the titles of some events together: `side_by_side` or `row_by_row`.
        ready: brings the weights of some events to their place; see below.
        tile: shares of `at_once` events in all listed scores.
        at_once: how many that is.
        pack: see `pack`.
        leaf: compiles what is called once.
        in_bytes: whether shares have measures of their own.
    """
    measure, reach_of = leaf(_measure(is_own=in_bytes)), leaf(_reach())

    def loop(  # type: ignore[no-untyped-def]
        weights, items, first, end, found, user, titles, facts, ends, listed, listed_facts, packed, panels, begins,
        scales, steps, sums, shares, limits, turned, reach, floors, leaders, measures,
    ):  # fmt: skip
        together, columns = begins.shape[1], panels.shape[2]
        longest, lost = limits[0], limits[1]
        measure(found, user, listed_facts, longest, lost, steps, measures)
        unit = np.float32(2 * (panels.shape[1] + 8) * 2.0**-24)
        for panel in range(len(panels)):
            pack(listed, found, user, panel * columns, found.shape[1], panels, panel, turned)
        floors[0, :], leaders[0, :] = -np.inf, 0
        for start in range(first, end, together):
            count, place = min(together, end - start), start - first
            gather(titles, items, start, end, packed, turned)
            ready(weights, items, start, count, facts, ends, packed, begins, scales)
            for i in range(count):
                event = start + i
                reach[0, place + i] = reach_of(weights, event, facts, items[0, event], longest, lost, unit)
            reach[0, place + count : place + together] = np.inf
            for row in range(0, count, at_once):
                tile(
                    packed, begins, scales, row, panels, steps, ends, sums, shares, place + row, reach, floors, leaders
                )

    return loop


def side_by_side(pack: Any) -> Any:
    """Titles of events as the vector unit reads them."""

    def loop(titles: Any, items: Any, start: Any, end: Any, packed: Any, turned: Any) -> None:
        pack(titles, items, 0, start, end, packed, 0, turned)

    return loop


def row_by_row(titles, items, start, end, packed, turned):  # type: ignore[no-untyped-def]
    """Titles of events as the matrix unit reads them."""
    for row in range(min(packed.shape[1], end - start)):
        item = items[0, start + row]
        for word in range(packed.shape[2]):
            packed[0, row, word] = titles[item, word]


def scaled(weights, items, start, count, facts, ends, packed, begins, scales):  # type: ignore[no-untyped-def]
    """For `byte_tile`: what a product of bytes is worth, and what takes the middle off again."""
    for i in range(count):
        title = items[0, start + i]
        for part in range(len(ends)):
            scales[part, i] = weights[part, start + i] * facts[title, part * FACTS + STEP]
            begins[part, i] = np.int32(facts[title, part * FACTS + MIDST])


def matrix_tile(byte_sums: Any, sum_of_parts: Any) -> Any:
    """Sums of all parts, then shares: each part has steps of its own."""

    def loop(  # type: ignore[no-untyped-def]
        packed, begins, scales, row, panels, steps, ends, sums, shares, event, reach, floors, leaders,
    ):  # fmt: skip
        for panel in range(len(panels)):
            low = np.int64(0)
            for part in range(len(ends)):
                byte_sums(packed, panels, panel, low, ends[part], sums, part)
                low = ends[part]
            sum_of_parts(sums, scales, steps, reach, floors, leaders, shares, event, panel * panels.shape[2])

    return loop


def _raise_floors(shares, first, end, reach, floors, leaders):  # type: ignore[no-untyped-def]
    """To what some shares surely are, and whose they are."""
    for event in range(first, end):
        less, number = reach[0, event], np.int32(event)
        for place in range(shares.shape[1]):
            sure = shares[event, place] - less
            leads = sure > floors[0, place]
            floors[0, place] = sure if leads else floors[0, place]
            leaders[0, place] = number if leads else leaders[0, place]


def byte_tile(byte_shares: Any, at_once: Any, leaf: Any) -> Any:
    """Part by part, since each has steps of its own."""
    raise_floors = leaf(_raise_floors)

    def loop(  # type: ignore[no-untyped-def]
        packed, begins, scales, row, panels, steps, ends, sums, shares, event, reach, floors, leaders,
    ):  # fmt: skip
        columns = panels.shape[2]
        shares[event : event + at_once] = 0
        for panel in range(len(panels)):
            low = np.int64(0)
            for part in range(len(ends)):
                byte_shares(
                    packed, begins, scales, row, panels, panel, steps, part, low, ends[part], shares, event,
                    panel * columns,
                )  # fmt: skip
                low = ends[part]
        raise_floors(shares, event, event + at_once, reach, floors, leaders)

    return loop


def weighed(weights, items, start, count, facts, ends, packed, begins, scales):  # type: ignore[no-untyped-def]
    """For `plain_tile`: the packed vectors times their weights."""
    low = np.int64(0)
    for part in range(len(ends)):
        for word in range(low, ends[part]):
            for i in range(count):
                packed[0, word, i] *= weights[part, start + i]
        low = ends[part]


def plain_tile(products: Any, at_once: Any, leaf: Any) -> Any:
    """All parts at once."""
    raise_floors = leaf(_raise_floors)

    def loop(  # type: ignore[no-untyped-def]
        packed, begins, scales, row, panels, steps, ends, sums, shares, event, reach, floors, leaders,
    ):  # fmt: skip
        for panel in range(len(panels)):
            products(packed, 0, row, panels, panel, shares, event, panel * panels.shape[2])
        raise_floors(shares, event, event + at_once, reach, floors, leaders)

    return loop
