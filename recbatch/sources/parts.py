"""What a reader hands to the checks: the rows of each file as they came, and an account of the files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recbatch.contracts import InputFile

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one table from one file, as read: nothing is checked yet."""

    name: str
    """The file, for messages and for the quarantine."""
    table: pa.Table


@dataclass(frozen=True, slots=True)
class RawTables:
    """What was read from a source, each table as the parts it came in."""

    interactions: tuple[Part, ...]
    items: tuple[Part, ...]
    users: tuple[Part, ...]
    inputs: tuple[InputFile, ...]
    merge_by_title: bool


def describe_file(path: Path, rows: int) -> InputFile:
    """The entry of a file in the account of inputs.

    Args:
        path: the file, named as given.
        rows: rows of data in it.

    Raises:
        OSError: the file cannot be read.
    """
    return InputFile(str(path), sha256_of(path), path.stat().st_size, rows)


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes in hex.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
