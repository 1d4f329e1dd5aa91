"""What a reader hands to the checks: the rows of each file as they came, and an account of the files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recbatch.contracts import InputFile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one table from one file, as read: nothing is checked yet."""

    name: str
    """The file, for messages and for the quarantine."""
    table: pa.Table
    sha256: str | None = None
    """Of the file's bytes, where it is known already."""
    key: str | None = None
    """The entry under which the checked rows may be kept; none: nowhere."""

    @property
    def schema(self) -> pa.Schema:
        """Columns and types as read."""
        return self.table.schema

    @property
    def num_rows(self) -> int:
        """Rows of data."""
        return int(self.table.num_rows)


@dataclass(frozen=True, slots=True)
class KeptPart:
    """Rows of a partition that were checked on an earlier night; see `sources.kept`."""

    name: str
    checked: pa.Table
    """The columns of `events.COLUMNS`."""
    codes: npt.NDArray[np.int8]
    """Shape (rows,): the fault of each row by itself."""
    sha256: str
    latest: int | None
    """The latest time, microseconds since 1970 UTC."""
    schema: pa.Schema
    """Columns and types of the rows as they were parsed."""
    parsed: Callable[[], pa.Table]
    """Reads the rows as they were parsed."""

    @property
    def table(self) -> pa.Table:
        """The rows as they were parsed, read anew at each call."""
        return self.parsed()

    @property
    def num_rows(self) -> int:
        """Rows of data."""
        return int(self.checked.num_rows)


AnyPart = Part | KeptPart


@dataclass(frozen=True, slots=True)
class RawTables:
    """What was read from a source, each table as the parts it came in."""

    interactions: tuple[AnyPart, ...]
    items: tuple[Part, ...]
    users: tuple[Part, ...]
    inputs: tuple[InputFile, ...]
    merge_by_title: bool


def describe_file(path: Path, rows: int, sha256: str | None = None) -> InputFile:
    """The entry of a file in the account of inputs.

    Args:
        path: the file, named as given.
        rows: rows of data in it.
        sha256: of its bytes, where it is known already.

    Raises:
        OSError: the file cannot be read.
    """
    return InputFile(str(path), sha256 or sha256_of(path), path.stat().st_size, rows)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes in hex.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
