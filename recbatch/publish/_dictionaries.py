"""Columns that come as positions into one long list of values, cut down to the values of one row group.

pyarrow writes the whole dictionary of a column into each row group, and hashes every value on the way.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from recbatch import _threads
from recbatch.contracts import Int32s

_SPARSE = 64
"""Positions so many times further apart than there are rows are looked up by bisection."""


def compact(rows: pa.Table) -> pa.Table:
    """The same rows; dictionaries with int32 positions hold what occurs, in the order in which it stood."""
    done: dict[tuple[object, ...], tuple[pa.Array, pa.Array]] = {}
    unified = []  # kept, so that no two arrays lie in one place
    cut = rows
    for place, field in enumerate(rows.schema if len(rows) else ()):
        if not pa.types.is_dictionary(field.type) or field.type.index_type != pa.int32():
            continue
        chunks = rows.column(place).chunks
        if len({_memory(chunk.dictionary) for chunk in chunks}) != 1:
            chunks = rows.column(place).unify_dictionaries().chunks
            unified.append(chunks)
        key = tuple(_memory(chunk.indices) for chunk in chunks)
        if key not in done:  # columns that name the same positions in two ways share the work
            done[key] = _distinct(pa.chunked_array([chunk.indices for chunk in chunks]))
        used, indices = done[key]
        names = chunks[0].dictionary.take(used)
        cut = cut.set_column(place, field, pa.DictionaryArray.from_arrays(indices, names, safe=False))
    return cut


def _memory(array: pa.Array) -> tuple[object, ...]:
    """Where an array lies: equal for equal arrays in one place."""
    return (array.offset, len(array), *(None if part is None else part.address for part in array.buffers()))


def _distinct(indices: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Positions that occur, ascending, and the place of each index among them, null where it is null."""
    codes = indices.to_numpy() if indices.null_count == 0 else indices.drop_null().to_numpy()
    used, places = _ranked(codes)
    if indices.null_count == 0:
        return pa.array(used), pa.array(places)
    there = indices.is_valid().to_numpy()
    whole = np.zeros(len(there), dtype=np.int32)
    whole[there] = places
    return pa.array(used), pa.array(whole, mask=~there)


def _ranked(codes: Int32s) -> tuple[Int32s, Int32s]:
    """What occurs, ascending, and the place of each among it."""
    low, cells = (int(codes.min()), int(codes.max()) - int(codes.min()) + 1) if len(codes) else (0, 0)
    if cells >= _SPARSE * len(codes):
        used = np.unique(codes)
        return used, np.searchsorted(used, codes).astype(np.int32)
    room = _threads.scratch(1, cells + cells // 4 + 1)[0]
    place_of, occurs = room[:cells].view(np.int32), room[cells:].view(np.bool_)[:cells]
    codes = codes - np.int32(low)
    occurs[:] = False
    occurs[codes] = True
    used = np.flatnonzero(occurs).astype(np.int32)
    place_of[used] = np.arange(len(used), dtype=np.int32)
    return used + np.int32(low), place_of.take(codes)
