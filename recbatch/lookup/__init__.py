"""One user's list in microseconds: `lookup.arrow` beside a run's tables, and a `Reader` that maps it into memory.

`lookup.arrow` is an Arrow IPC file, not compressed, so that it is read where it lies. It has one row per known user in
byte order of `user_id`; the row of the empty id, first in that order, is what unknown users get: the overall `popular`.

    user_id: string
    rows: list<struct<
        item: dictionary<int32, struct<item_id: string, title: string>>   ids and titles stand in the file once
        score: float32
        source: int8                                                      index into `schemas.SOURCES`
        because: int32                                                    index into the dictionary, null: -1
    >>

A user's rows are those of `recommendations` followed by those of `recommendations_buffer`, so rank is place + 1; the
schema's metadata holds `k`, the length of a list.

    from recbatch.lookup import Reader
    reader = Reader("lake")
    reader.get("196")           # at most k rows; an unknown user gets what is popular
"""

from __future__ import annotations

from pathlib import Path

from recbatch.errors import naming
from recbatch.lookup.reader import Reader, Row

FILE = "lookup.arrow"
"""Its name in the folder of a run."""

__all__ = ["FILE", "Reader", "Row", "write"]


def write(folder: Path, k: int) -> int:
    """Writes `lookup.arrow` from the Parquet tables of a run that passed its audits.

    Reads users, lists and buffer side by side, some 2M rows at a time, so memory does not grow with the number of users
    beyond their ids.

    Args:
        folder: holds `users`, `items`, `popular`, `recommendations` and `recommendations_buffer`; not yet sealed.
        k: rows of a whole list.

    Returns:
        The file's size in bytes.

    Raises:
        DataError: a row is of no known user or item, or not in order: what the audits exclude.
        OSError: the file system refuses.
    """
    from recbatch.lookup.writer import write_lookup  # readers do without pyarrow.parquet, which takes a while to load

    with naming(folder / FILE):
        return write_lookup(folder, folder / FILE, k)
