"""The compiled twin of `because`: shares of all events in all recommended scores, nearly, and those in doubt exactly.

Where the machine multiplies bytes, a first look is taken at vectors rounded to them; elsewhere at float32. Any way a
bound says how far a share may lie from the truth, and what it leaves open is settled in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbatch import _compiling, _threads
from recbatch.contracts import EventFactors, Events, Float32s, Int32s
from recbatch.kernels import Kernel, leaf, part
from recbatch.score import _first_look as looks
from recbatch.score._looked_at import Kind, Rows, rows

_SLACK = np.float32(2.0**-20)
"""More than rounding takes from an exact share on its way to a floor."""


@dataclass(frozen=True, slots=True)
class Tables:
    """Titles as the first look sees them, once for all users; shapes by vocabulary and by candidates."""

    titles: Rows
    candidates: Rows
    kind: Kind

    @classmethod
    def of(cls, vectors: Float32s, candidates: Float32s, widths: tuple[int, ...], kind: Kind) -> Tables:
        """Rounds them where bytes are wanted.

        Args:
            vectors: shape (vocabulary, d).
            candidates: shape (candidates, at least d).
            widths: columns of each part; they add up to d.
            kind: how they are looked at.
        """
        titles, listed = _threads.both(
            lambda: rows(vectors, widths, kind), lambda: rows(candidates, widths, kind, kind.middle)
        )
        return cls(titles, listed, kind)


def largest(tables: Tables, factors: EventFactors, histories: Events, candidates: Float32s, found: Int32s) -> Int32s:
    """Which event of its user, counted from the first, has the largest share: shape (B, k), 0 where nothing is found.

    Args:
        tables: of these vectors and candidates.
        factors: of these histories.
        histories: B users with at least one event each.
        candidates: shape (candidates, at least d).
        found: shape (B, k): recommended candidates, negative for none.
    """
    unit = _compiling.vector_unit()
    in_tiles = tables.kind is Kind.TILES
    together = _compiling.TILE_ROWS if in_tiles else math.lcm(unit.rows, unit.length)
    parts, words = len(factors.weights), tables.titles.values.shape[1]
    panels = -(-found.shape[1] // unit.columns)
    groups = -(-int(histories.counts.max(initial=0)) // together)
    width = -(-panels * unit.columns // _compiling.CHUNK) * _compiling.CHUNK
    kind = tables.titles.values.dtype
    which = np.zeros(found.shape, dtype=np.int32)
    _LOOKS[tables.kind](
        *((_compiling.tile_shapes(words),) if in_tiles else ()),
        *factors.flat,
        histories.items.reshape(1, -1),
        histories.offsets,
        candidates,
        found,
        tables.titles.values,
        tables.titles.facts,
        tables.titles.ends,
        tables.candidates.values,
        tables.candidates.facts,
        _compiling.zeros(1, *((together, words) if in_tiles else (words, together))).view(kind),
        _compiling.zeros(panels, words, unit.columns).view(kind),
        np.zeros((parts, together), dtype=np.int32),
        _compiling.zeros(parts, together),
        _compiling.zeros(parts, width),
        np.zeros((parts if in_tiles else 0, _compiling.TILE_ROWS, _compiling.TILE_COLUMNS), dtype=np.int32),
        _threads.scratch(groups * together, width),
        np.empty((2, parts), dtype=np.float32),
        np.empty((1, unit.length), dtype=np.int32),
        np.empty((1, groups * together), dtype=np.float32),
        _compiling.zeros(1, width),
        _compiling.zeros(1, width).view(np.int32),
        _compiling.zeros(1, width),
        np.empty(found.shape[1], dtype=np.float64),
        which,
    )
    return which


def _loop(look: Any, choose: Any) -> Any:
    def loop(  # type: ignore[no-untyped-def]
        vectors, starts, ends, weights, items, offsets, candidates, found, titles, title_facts, word_ends, listed,
        listed_facts, packed, panels, begins, scales, steps, sums, shares, limits, turned, reach, floors, leaders,
        measures, best, result,
    ):  # fmt: skip
        for user in range(len(found)):
            first, end = offsets[user], offsets[user + 1]
            look(
                weights, items, first, end, found, user, titles, title_facts, word_ends, listed, listed_facts, packed,
                panels, begins, scales, steps, sums, shares, limits, turned, reach, floors, leaders, measures,
            )  # fmt: skip
            choose(
                vectors, starts, ends, weights, items, first, end - first, candidates, found, user, shares, reach,
                floors, leaders, measures, best, result,
            )  # fmt: skip

    return loop


def _in_tiles(begin: Any, loop: Any, end: Any) -> Any:
    """The loop while the matrix unit's registers have the given shapes."""

    def whole(  # type: ignore[no-untyped-def]
        shapes, vectors, starts, ends, weights, items, offsets, candidates, found, titles, title_facts, word_ends,
        listed, listed_facts, packed, panels, begins, scales, steps, sums, shares, limits, turned, reach, floors,
        leaders, measures, best, result,
    ):  # fmt: skip
        begin(shapes)
        loop(
            vectors, starts, ends, weights, items, offsets, candidates, found, titles, title_facts, word_ends, listed,
            listed_facts, packed, panels, begins, scales, steps, sums, shares, limits, turned, reach, floors,
            leaders, measures, best, result,
        )  # fmt: skip
        end()

    return whole


def _share(exact_share: Any) -> Any:
    """The share of an event in a candidate's score, in float64 but for the product with the weight."""

    def loop(
        vectors: Any, starts: Any, ends: Any, weights: Any, event: Any, item: Any, candidates: Any, one: Any
    ) -> Any:
        total = 0.0
        for number in range(len(starts)):
            weight, first, end = weights[number, event], starts[number], ends[number]
            total += exact_share(vectors, item, weight, candidates, one, first, end)
            for i in range(end - (end - first) % _compiling.LANES, end):
                total += np.float64(vectors[item, i] * weight) * np.float64(candidates[one, i])
        return total

    return loop


def _choose(reaching: Any, first_bit: Any, share: Any) -> Any:
    """The first event with the largest share: the one that leads by a first look, or the best of those that reach it.

    What the leader's share is exactly leaves fewer to be looked at again than what it surely was.
    """

    def loop(  # type: ignore[no-untyped-def]
        vectors, starts, ends, weights, items, first, count, candidates, found, user, shares, reach, floors, leaders,
        measures, best, result,
    ):  # fmt: skip
        k, width = found.shape[1], shares.shape[1]
        for place in range(k):
            result[user, place] = leaders[0, place]
            if found[user, place] < 0:
                floors[0, place], result[user, place] = np.nan, 0
        floors[0, k:] = np.nan  # which nothing reaches
        best[:] = np.nan
        for event in range(count):
            for start in range(0, width, _compiling.CHUNK):
                bits = reaching(shares, event, start, reach[0, event], floors)
                while bits:
                    place = start + first_bit(bits)
                    bits &= bits - np.uint64(1)
                    leader, one = np.int64(leaders[0, place]), found[user, place]
                    if event == leader:
                        continue
                    if np.isnan(best[place]):
                        at = first + leader
                        best[place] = share(vectors, starts, ends, weights, at, items[0, at], candidates, one)
                        near = np.float32(best[place]) * measures[0, place]
                        floors[0, place] = max(floors[0, place], near - abs(near) * _SLACK)
                        if shares[event, place] + reach[0, event] < floors[0, place]:
                            continue
                    at = first + event
                    mine = share(vectors, starts, ends, weights, at, items[0, at], candidates, one)
                    if mine > best[place] or (mine == best[place] and event < result[user, place]):
                        best[place], result[user, place] = mine, event

    return loop


def _put_together(gather: Any, ready: Any, tile: Any, at_once: int, *, in_bytes: bool = True) -> Any:
    from recbatch import _llvm
    from recbatch import _vectors as vectors
    from recbatch.score import _vectors as own

    pack = part(looks.pack(vectors.turn, _llvm.LENGTH))
    choose = leaf(_choose(own.reaching, vectors.first_bit, leaf(_share(own.exact_share))))
    gather = leaf(gather or looks.side_by_side(pack))
    look = looks.look(gather, leaf(ready), leaf(tile), at_once, pack, leaf, in_bytes=in_bytes)
    return _loop(leaf(look), choose)


def _look_by_tiles() -> Any:
    from recbatch import _tiles
    from recbatch.score import _vectors

    tile = looks.matrix_tile(_tiles.byte_sums, _vectors.sum_of_parts)
    loop = _put_together(looks.row_by_row, looks.scaled, tile, _compiling.TILE_ROWS)
    return _in_tiles(_tiles.begin, part(loop), _tiles.end)


def _look_at_bytes() -> Any:
    from recbatch import _llvm
    from recbatch.score import _vectors

    tile = looks.byte_tile(_vectors.byte_shares, _llvm.ROWS, leaf)
    return _put_together(None, looks.scaled, tile, _llvm.ROWS)


def _look_at_floats() -> Any:
    from recbatch import _llvm, _vectors

    tile = looks.plain_tile(_vectors.products, _llvm.ROWS, leaf)
    return _put_together(None, looks.weighed, tile, _llvm.ROWS, in_bytes=False)


_LARGEST = (
    "void({shapes}float32[:,::1], int64[::1], int64[::1], float32[:,::1], int32[:,::1], int64[::1], float32[:,::1],"
    " int32[:,::1], {words}[:,::1], float32[:,::1], int64[::1], {words}[:,::1], float32[:,::1], {words}[:,:,::1],"
    " {words}[:,:,::1], int32[:,::1], float32[:,::1], float32[:,::1], int32[:,:,::1], float32[:,::1], float32[:,::1],"
    " int32[:,::1], float32[:,::1], float32[:,::1], int32[:,::1], float32[:,::1], float64[::1], int32[:,::1])"
)
_LOOKS = {
    Kind.FLOATS: Kernel("largest", _LARGEST.format(shapes="", words="float32"), _look_at_floats),
    Kind.BYTES: Kernel("largest_bytes", _LARGEST.format(shapes="", words="int32"), _look_at_bytes),
    Kind.TILES: Kernel("largest_tiles", _LARGEST.format(shapes="uint8[::1], ", words="int32"), _look_by_tiles),
}
