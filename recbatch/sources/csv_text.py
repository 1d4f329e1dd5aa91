"""Delimited text files, every column as text: an id of "0104257" keeps its zero."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from recbatch.errors import DataError

_BLOCK_BYTES = 16 * 2**20
"""Bytes parsed at a time; also the longest header or line that can be read."""


def read_text_table(path: Path, *, delimiter: str = ",", quoted: bool = True) -> pa.Table:
    """Reads a delimited UTF-8 file under a header.

    Args:
        path: the file.
        delimiter: one character.
        quoted: whether a double quote encloses a value that holds the delimiter or a line break.

    Returns:
        A table of strings without nulls; empty values are empty strings.

    Raises:
        DataError: not UTF-8, no header, or a line with another number of values; names the row, 1 being the first
            row of data.
        OSError: the file cannot be read.
    """
    header = _header(path, delimiter, quoted)
    parsing = pa.csv.ParseOptions(
        delimiter=delimiter,
        quote_char='"' if quoted else False,
        double_quote=quoted,
        newlines_in_values=quoted,
    )
    converting = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False, check_utf8=True
    )
    try:
        return pa.csv.read_csv(path, _reading(True), parsing, converting)
    except pa.ArrowInvalid as error:
        raise _fault(path, parsing, converting, error) from error


def _reading(threads: bool) -> pa.csv.ReadOptions:
    return pa.csv.ReadOptions(use_threads=threads, block_size=_BLOCK_BYTES)


def _header(path: Path, delimiter: str, quoted: bool) -> list[str]:
    with path.open("rb") as stream:
        line = stream.readline(_BLOCK_BYTES)
    try:
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: the header is not UTF-8; convert the file, e.g. `iconv -f latin1 -t utf-8`"
        ) from error
    if not text.strip():
        raise DataError(f"{path}: empty file, expected a header line; write one or remove the file")
    return [name.strip('"') if quoted else name for name in text.split(delimiter)]


def _fault(
    path: Path, parsing: pa.csv.ParseOptions, converting: pa.csv.ConvertOptions, error: pa.ArrowInvalid
) -> DataError:
    """The error with its row: only a reading in one thread counts rows."""
    line = _line_of_bad_text(path)
    if line:
        return DataError(f"{path} row {line - 1}: not UTF-8; convert the file, e.g. `iconv -f latin1 -t utf-8`")
    rows: list[str] = []

    def note(row: pa.csv.InvalidRow) -> str:
        # The header is row 1 of the parser.
        rows.append(f"row {row.number - 1}: expected {row.expected_columns} values, got {row.actual_columns}")
        return "skip"

    counting = pa.csv.ParseOptions(
        delimiter=parsing.delimiter,
        quote_char=parsing.quote_char,
        double_quote=parsing.double_quote,
        newlines_in_values=parsing.newlines_in_values,
        invalid_row_handler=note,
    )
    message = str(error).splitlines()[0]
    try:
        pa.csv.read_csv(path, _reading(False), counting, converting)
    except pa.ArrowInvalid as second:
        message = str(second).splitlines()[0]
    if rows:
        return DataError(f"{path} {rows[0]}; correct or remove that line")
    return DataError(f"{path}: cannot be parsed: {message}; correct the file")


def _line_of_bad_text(path: Path) -> int:
    """The first line that is not UTF-8, counted from 1; 0 where all are."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0
