"""What lists are filled from: the model's best titles, searched as deep as caps demand, then popularity."""

from __future__ import annotations

import numpy as np

from recbatch import schemas
from recbatch.contracts import NO_ITEM, Bools, Exclusions, Float32s, Index, Int32s, Int64s, Popular
from recbatch.score.catalogue import Catalogue
from recbatch.score.drafting import Draft

PINNED, MODEL, SEGMENT, POPULAR = (schemas.SOURCES.index(name) for name in schemas.SOURCES)
_CELLS = 4_000_000
"""Cells of the tables used while searching deeper and while filling up lists."""


def append_best(
    draft: Draft, rows: Int64s, queries: Float32s, exclude: Exclusions, catalogue: Catalogue, index: Index
) -> None:
    """Appends the model's best titles; where caps leave lists short, those are searched for twice as deep, and so on.

    With an exact index the result is the greedy choice along the whole ranking.

    Args:
        draft: lists with nothing of the model in them.
        rows: shape (R,): the lists to fill.
        queries: shape (R, dim).
        exclude: R rows of candidates.
        catalogue: names the candidates.
        index: over its embeddings.
    """
    if draft.caps is None:
        add = draft.append if draft.have[rows].any() else draft.begin
        add(rows, *_found(index, catalogue, queries, draft.length, exclude), MODEL)
        return
    kinds, most = draft.caps.kinds(catalogue.positions), len(catalogue.positions)
    depth, todo = min(2 * draft.length, most), np.arange(len(rows))
    while len(todo):
        short, step = [], max(1, _CELLS // max(1, depth))
        for start in range(0, len(todo), step):
            part = todo[start : start + step]
            stream, scores = _found(index, catalogue, queries[part], depth, exclude.of_queries(part))
            choice = draft.choose(rows[part], stream)
            again = draft.could_take(rows[part], choice, kinds) & (stream[:, -1] != NO_ITEM) & (depth < most)
            done = np.flatnonzero(~again)
            draft.put(rows[part][done], stream[done], scores[done], MODEL, choice.of(done))
            short.append(part[again])
        depth, todo = min(2 * depth, most), np.concatenate(short)


def _found(
    index: Index, catalogue: Catalogue, queries: Float32s, depth: int, exclude: Exclusions
) -> tuple[Int32s, Float32s]:
    """Item positions and scores of the best candidates."""
    found, scores = index.search(queries, depth, exclude)
    return np.where(found == NO_ITEM, NO_ITEM, catalogue.positions[found]).astype(np.int32, copy=False), scores


def append_popular(draft: Draft, barred: Exclusions, by_model: Bools, popular: Popular) -> None:
    """Fills the tail of short lists by popularity, leaving out what is barred or listed already.

    Args:
        draft: lists.
        barred: a row of item positions for each list.
        by_model: shape (B,): which have titles of the model.
        popular: the orders of what may be recommended.
    """
    short = np.flatnonzero(draft.have < draft.length)
    # A list that the model began is filled from the overall order: its user has a history, not just a segment.
    segment = np.where(by_model, 0, popular.segment_of_user[draft.lists.users]).astype(np.int64)
    plain = (draft.have[short] == 0) & (np.diff(barred.offsets)[short] == 0)
    simple, rest = short[plain], short[~plain]
    _, first, of = np.unique(segment[simple], return_index=True, return_inverse=True)
    standing_for_all = simple[first]  # lists with nothing to leave out are one list per segment
    rest = np.concatenate([rest, standing_for_all])
    places, titles = _places(popular), popular.order.shape[1]
    # Without caps a list is full after as many places as it is long, and one more for each title that it cannot take.
    depth = np.diff(barred.offsets)[rest] + draft.have[rest] + draft.length if draft.caps is None else titles
    depth = np.minimum(np.broadcast_to(depth, len(rest)), titles)
    order = np.argsort(depth, kind="stable")
    rest, depth = rest[order], depth[order]
    start = 0
    while start < len(rest):
        cells = depth[start:] * np.arange(1, len(rest) - start + 1)
        end = start + max(1, int(np.searchsorted(cells, _CELLS, side="right")))
        part = rest[start:end]
        _append_free(draft, part, segment[part], barred.of_queries(part), popular, places, int(depth[end - 1]))
        start = end
    draft.copy(simple, standing_for_all[of])


def _places(popular: Popular) -> Int32s:
    """Shape (segments, items): where each title stands in each order; behind all where it may not be recommended."""
    places = np.full((len(popular.order), len(popular.shares)), popular.order.shape[1], dtype=np.int32)
    ranks = np.broadcast_to(np.arange(popular.order.shape[1], dtype=np.int32), popular.order.shape)
    np.put_along_axis(places, popular.order.astype(np.int64), ranks, axis=1)
    return places


def _append_free(
    draft: Draft, rows: Int64s, segment: Int64s, barred: Exclusions, popular: Popular, places: Int32s, depth: int
) -> None:
    """The first places of the popularity order that are free and fit, for all rows at once, no deeper than `depth`."""
    taken = np.zeros((len(rows), depth + 1), dtype=np.bool_)  # the last column stands for all that lies deeper
    row = np.repeat(np.arange(len(rows)), np.diff(barred.offsets))
    taken[row, np.minimum(places[segment[row], barred.items], depth)] = True
    row, rank = np.nonzero(draft.lists.positions[rows] != NO_ITEM)
    taken[row, np.minimum(places[segment[row], draft.lists.positions[rows[row], rank]], depth)] = True
    order, scores = popular.order[:, :depth][segment], popular.scores[:, :depth][segment]
    stream = np.where(taken[:, :depth], np.int32(NO_ITEM), order)
    source = np.where(segment > 0, SEGMENT, POPULAR).astype(np.int8)
    kinds = draft.caps.kinds(popular.order[0]) if draft.caps else np.empty((0, 0), dtype=np.int32)
    start, width, open_ = 0, draft.length if draft.caps else stream.shape[1], np.arange(len(rows))
    while start < stream.shape[1] and len(open_):
        part = slice(start, start + width)
        choice = draft.choose(rows[open_], stream[open_, part])
        still = draft.could_take(rows[open_], choice, kinds)
        draft.put(rows[open_], stream[open_, part], scores[open_, part], source[open_], choice)
        open_, start, width = open_[still], start + width, 2 * width
