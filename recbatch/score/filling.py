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
    step = max(1, _CELLS // max(1, len(popular.shares)))
    for start in range(0, len(rest), step):
        part = rest[start : start + step]
        _append_free(draft, part, segment[part], barred.of_queries(part), popular)
    draft.copy(simple, standing_for_all[of])


def _append_free(draft: Draft, rows: Int64s, segment: Int64s, barred: Exclusions, popular: Popular) -> None:
    """The first places of the popularity order that are free and fit, for all rows at once."""
    free = np.ones((len(rows), len(popular.shares)), dtype=np.bool_)
    free[np.repeat(np.arange(len(rows)), np.diff(barred.offsets)), barred.items] = False
    listed_row, listed_rank = np.nonzero(draft.lists.positions[rows] != NO_ITEM)
    free[listed_row, draft.lists.positions[rows[listed_row], listed_rank]] = False
    order, scores = popular.order[segment], popular.scores[segment]
    stream = np.where(np.take_along_axis(free, order, axis=1), order, np.int32(NO_ITEM))
    source = np.where(segment > 0, SEGMENT, POPULAR).astype(np.int8)
    kinds = draft.caps.kinds(popular.order[0]) if draft.caps else np.empty((0, 0), dtype=np.int32)
    start, width, open_ = 0, draft.length if draft.caps else stream.shape[1], np.arange(len(rows))
    while start < stream.shape[1] and len(open_):
        part = slice(start, start + width)
        choice = draft.choose(rows[open_], stream[open_, part])
        still = draft.could_take(rows[open_], choice, kinds)
        draft.put(rows[open_], stream[open_, part], scores[open_, part], source[open_], choice)
        open_, start, width = open_[still], start + width, 2 * width
