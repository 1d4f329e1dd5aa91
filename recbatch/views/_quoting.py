"""Text into SQL, in one place: DuckDB's CREATE VIEW and ATTACH take no parameters, so names and values are quoted."""

from __future__ import annotations

from pathlib import Path

from recbatch.errors import UsageError

SQL_TYPES = {
    "string": "varchar",
    "strings": "varchar[]",
    "bool": "boolean",
    "int16": "smallint",
    "int32": "integer",
    "int64": "bigint",
    "float32": "float",
    "float64": "double",
    "timestamp": "timestamp",
    "date": "date",
}
"""Type words of `schemas` as DuckDB spells them."""


def quote_literal(value: object) -> str:
    """A value as a SQL literal: null, true, a number, or text between single quotes.

    Args:
        value: None, bool, int, or anything whose `str` is meant; text may hold any character but NUL.

    Returns:
        SQL text that reads back to the same value whatever stands in it.

    Raises:
        UsageError: the text holds a NUL, which SQL text cannot.
    """
    if value is None:
        return "null"
    if isinstance(value, bool | int):
        return str(value).lower()
    text = str(value)
    if "\0" in text:
        raise UsageError(f"{text!r}: a NUL character cannot stand in SQL; remove it")
    return "'" + text.replace("'", "''") + "'"


def quote_name(name: str) -> str:
    """A column, table or macro name between double quotes, whatever stands in it.

    Raises:
        UsageError: the name is empty or holds a NUL.
    """
    if not name or "\0" in name:
        raise UsageError(f"{name!r} is no SQL name; give one without NUL")
    return '"' + name.replace('"', '""') + '"'


def absolute(folder: Path) -> Path:
    """The folder's path from the root, links kept, `..` resolved: DuckDB's allowed_directories refuses `..`.

    Raises:
        UsageError: the path holds a backslash or a question mark, which DuckDB 2.0 takes for a separator and for the
            beginning of options when it makes up the name of its write-ahead log.
    """
    whole = folder.resolve() if ".." in folder.parts else folder.absolute()
    for character in "\\?":
        if character in str(whole):
            raise UsageError(
                f"{whole}: DuckDB cannot work below a path with {character!r}; choose or rename the folder"
            )
    return whole
