"""One column at a time: from what a file holds to the type the contract wants."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import _ids
from recbatch.contracts import Float32s
from recbatch.errors import DataError
from recbatch.sources.ledger import Codes, mark
from recbatch.sources.parts import Part

Bools = npt.NDArray[np.bool_]

_ID_FAULTS: tuple[tuple[str, Callable[[pa.Array], pa.Array]], ...] = (
    ("null_id", pc.is_null),
    ("empty_id", lambda ids: pc.equal(pc.utf8_trim_whitespace(ids), "")),
    ("nul_in_id", lambda ids: pc.match_substring(ids, "\x00")),
)
_NUMERIC = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null)


def require(part: Part, names: Iterable[str]) -> None:
    """Checks that the columns are there, and that no name stands twice.

    Raises:
        DataError: one is missing or doubled; names the file and the nearest column there is.
    """
    have = part.table.column_names
    for name in have:
        if have.count(name) > 1:
            raise DataError(f"{part.name}: column {name} stands there {have.count(name)} times; rename or drop one")
    wanted = tuple(names)
    for name in wanted:
        if name not in have:
            near = difflib.get_close_matches(name, [column for column in have if column not in wanted], 1, 0.5)
            hint = f"rename column {near[0]}" if near else f"it has {', '.join(have) or 'no columns'}; add the column"
            raise DataError(f"{part.name}: no column {name}; {hint}")


def ids(part: Part, name: str) -> pa.ChunkedArray:
    """A column of identifiers as text; integers become their decimal digits.

    Raises:
        DataError: neither text nor integers.
    """
    return _id_text(part, name, _plain_text(part.table[name]))


def encoded_ids(part: Part, name: str) -> pa.DictionaryArray:
    """The same as a dictionary, each id in it once."""
    column = part.table[name]
    found = _ids.encoded(column.cast(pa.string()) if pa.types.is_null(column.type) else column)
    return pa.DictionaryArray.from_arrays(found.indices, _id_text(part, name, _plain_text(found.dictionary)))


def _id_text(part: Part, name: str, ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if pa.types.is_string(ids.type):
        return ids
    if pa.types.is_integer(ids.type) or pa.types.is_null(ids.type):
        return ids.cast(pa.string())
    raise DataError(
        f"{part.name} row 1: column {name} is {ids.type}, expected text or integers;"
        f" write the ids as text (a float turns 7 into 7.0 and rounds long ids)"
    )


def mark_bad_ids(codes: Codes, *columns: pa.DictionaryArray) -> None:
    """Marks rows one of whose identifiers is null, empty, blank or holds a NUL character."""
    for reason, test in _ID_FAULTS:
        for column in columns:
            bad, null_is = as_bools(test(column.dictionary)), test is pc.is_null
            if bad.any() or (null_is and column.null_count):
                mark(codes, _ids.taken(bad, column, null_is), reason)


def text(part: Part, name: str) -> pa.ChunkedArray:
    """A column as text, blank values null.

    Raises:
        DataError: its type has no text.
    """
    column = _plain_text(part.table[name])
    try:
        column = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{part.name}: column {name} is {column.type}, expected text; write it as text") from error
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), pa.scalar(None, pa.string()), column)


def numbers(part: Part, name: str) -> tuple[Float32s, Bools, Bools]:
    """A column of numbers.

    Returns:
        Values (shape (rows,), 0 where there is none), which rows have no value, and which have one that is not a
        finite number.

    Raises:
        DataError: neither numbers nor text.
    """
    column = _plain_text(part.table[name])
    if pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        missing = as_bools(pc.is_null(column)) | as_bools(pc.equal(column, ""))
        column = _parsed(column)
    elif any(is_kind(column.type) for is_kind in _NUMERIC):
        missing = as_bools(pc.is_null(column))
    else:
        raise DataError(f"{part.name} row 1: column {name} is {column.type}, expected a number; convert the column")
    values = np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), float("nan")), np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(np.float32)
    bad = ~np.isfinite(narrow) & ~missing
    return np.where(missing | bad, np.float32(0), narrow).astype(np.float32), missing, bad


def labels(part: Part, name: str) -> pa.ChunkedArray:
    """A column of lists of text; text is split at `|`, blank is null.

    Raises:
        DataError: neither lists of text nor text.
    """
    column = _plain_text(part.table[name])
    wanted = pa.list_(pa.string())
    try:
        if pa.types.is_string(column.type):
            column = pc.split_pattern(text(part, name), "|")
        return column.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"{part.name}: column {name} is {column.type}, expected a list of text or text with | between the labels;"
            " convert the column"
        ) from error


def as_bools(column: pa.ChunkedArray | pa.Array) -> Bools:
    """A Boolean column as an array, null as False."""
    return np.asarray(pc.fill_null(column, False), np.bool_)


def _plain_text(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    return column.cast(pa.string()) if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else column


def _parsed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Text as numbers, null where it is none."""
    number = pc.match_substring_regex(column, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
    plain = pc.replace_substring_regex(pc.if_else(number, column, None), r"^\+", "")
    return plain.cast(pa.float64())
