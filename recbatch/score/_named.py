"""Rows whose text stands as positions into long lists of names, which the writer cuts down to those of a row group."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from recbatch import schemas


def named(positions: pa.Array, names: pa.StringArray) -> pa.DictionaryArray:
    """Text as positions: shape (n,), null where a position is."""
    return pa.DictionaryArray.from_arrays(positions, names)


def rows_of(table: schemas.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Columns as rows of a table of the contract, null only where it allows."""
    nullable = {field.name: field.nullable for field in schemas.arrow(table)}
    fields = [pa.field(name, column.type, nullable=nullable[name]) for name, column in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(fields))
