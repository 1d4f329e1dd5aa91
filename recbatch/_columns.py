"""Arrow columns of millions of rows, not copied where nothing changes."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

Column = pa.Array | pa.ChunkedArray


def filled(column: Column, value: Any) -> Column:
    """A column with a value instead of null: itself where it holds none, which Arrow would copy."""
    return pc.fill_null(column, value) if column.null_count else column
