"""Columns of ids as places in a dictionary: what is asked of millions of rows is asked once of each id."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import _columns
from recbatch.contracts import Bools, Int32s

_AT_ONCE = 1 << 16
"""Rows at a time: NumPy widens places before it uses them, and that copy stays in the cache."""


def encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """A column, plain or of dictionaries, as one array over one dictionary, which holds no value twice and no null."""
    if not pa.types.is_dictionary(column.type):
        return _whole(column.dictionary_encode())
    found = _whole(column.unify_dictionaries())
    values = found.dictionary
    if values.null_count or len(pc.unique(values)) < len(values):
        return _whole(column.cast(column.type.value_type).dictionary_encode())
    if found.type.index_type == pa.int32():
        return found
    return pa.DictionaryArray.from_arrays(found.indices.cast(pa.int32()), values)


def places(column: pa.DictionaryArray) -> Int32s:
    """Shape (rows,): the place of each row's id in the dictionary, -1 for null."""
    return np.asarray(_columns.filled(column.indices, -1), dtype=np.int32)


def taken(of_values: npt.NDArray[Any], column: pa.DictionaryArray, of_null: Any) -> npt.NDArray[Any]:
    """Shape (rows,): what holds of each row's id; `of_values` has an entry for each value of the dictionary."""
    table, rows = np.append(of_values, np.asarray([of_null], of_values.dtype)), places(column)
    found = np.empty(len(rows), of_values.dtype)
    for start in range(0, len(rows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        np.take(table, rows[part], out=found[part], mode="wrap")  # -1 is the last: null
    return found


def positions(column: pa.ChunkedArray, among: pa.StringArray) -> Int32s:
    """Shape (rows,): the place of each row's id in a vocabulary, -1 for null and for what does not stand there."""
    ids = encoded(column)
    found = pc.index_in(ids.dictionary, value_set=among)
    return taken(np.asarray(pc.fill_null(found, -1), dtype=np.int32), ids, -1)


def are_in(column: pa.ChunkedArray, among: pa.StringArray) -> Bools:
    """Shape (rows,): whether each row's id is one of some."""
    return positions(column, among) >= 0


def present(column: pa.ChunkedArray) -> pa.StringArray:
    """The ids that a column holds, once each."""
    ids = encoded(column)
    found, rows = np.zeros(len(ids.dictionary) + 1, np.bool_), places(ids)
    for start in range(0, len(rows), _AT_ONCE):
        found[rows[start : start + _AT_ONCE]] = True  # -1 is the last: null
    return ids.dictionary.filter(pa.array(found[:-1]))


def _whole(column: pa.ChunkedArray) -> pa.DictionaryArray:
    if column.num_chunks == 1:
        return column.chunk(0)  # which `combine_chunks` would copy
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
