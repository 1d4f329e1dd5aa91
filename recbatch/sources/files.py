"""`files:DIR`: one's own tables as Parquet or CSV, whole, in pieces or in Hive folders."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbatch.contracts import InputFile, Progress
from recbatch.errors import DataError, InputMissing
from recbatch.sources.csv_text import read_text_table
from recbatch.sources.events import COLUMNS
from recbatch.sources.kept import Kept
from recbatch.sources.parts import AnyPart, Part, RawTables, describe_file
from recbatch.store import below

_SUFFIXES = (".parquet", ".csv")
_BYTES_OF_TEXT = 30
"""Of a row of interactions as text: two ids, a time, a rating."""
_PANDAS_INDEX = re.compile(r"__index_level_\d+__")


def read_files(folder: Path, progress: Progress, unit: str = "s", kept: Kept | None = None) -> RawTables:
    """Reads the tables of a folder.

    Args:
        folder: holds `interactions`, `items` and optionally `users`. Each is a file `NAME.parquet` or `NAME.csv`,
            several files `NAME-….parquet` (also `_` or `.` behind the name), or a folder `NAME` with such files at
            any depth, where `key=value` folders give columns that the files lack.
        progress: called with the files read.
        unit: of numeric times; rows are kept for this unit.
        kept: where the rows of interactions in several files are kept from night to night; none: nowhere.

    Returns:
        The tables as parts, pieces in natural order of their paths: dates and numbers ascend.

    Raises:
        InputMissing: the folder, `interactions` or `items` is not there.
        DataError: a table is there in two forms, or a file cannot be parsed.
    """
    if not folder.is_dir():
        raise InputMissing(f"{folder}: no such folder; name the one that holds interactions and items in files:DIR")
    found = {name: _find(folder, name) for name in ("interactions", "items", "users")}
    for name in ("interactions", "items"):
        if not found[name]:
            raise InputMissing(
                f"{folder}: no {name}: looked for {name}.parquet, {name}.csv, {name}-*.parquet, {name}-*.csv and"
                f" {name}/**; add one of them"
            )
    parts: dict[str, tuple[AnyPart, ...]] = {}
    inputs: list[InputFile] = []
    total = sum(map(len, found.values()))
    for name, paths in found.items():
        root, pieces = folder / name, []
        dated = kept if name == "interactions" and len(paths) > 1 else None  # one file alone changes every night
        for path in paths:
            piece = dated.part(path, _partitions(path, root), unit, _parser(path, name, root)) if dated else None
            piece = piece or Part(str(path), _parser(path, name, root)())
            pieces.append(piece)
            inputs.append(describe_file(path, piece.num_rows, piece.sha256))
            progress("read", len(inputs), total)
        parts[name] = tuple(pieces)
    items, users = (tuple(part for part in parts[name] if isinstance(part, Part)) for name in ("items", "users"))
    return RawTables(parts["interactions"], items, users, tuple(inputs), merge_by_title=False)


def rows_of_files(folder: Path) -> int:
    """Rows of `interactions`, about: of Parquet from the footers, of text from the size; 0 for what cannot be read."""
    rows = 0
    for path in _find(folder, "interactions"):
        try:
            rows += (
                pq.read_metadata(path).num_rows if path.suffix == ".parquet" else path.stat().st_size // _BYTES_OF_TEXT
            )
        except (pa.ArrowException, OSError):
            continue  # the reading says what is wrong
    return rows


def read_table(path: Path, key: str) -> tuple[pa.Table, InputFile]:
    """One table that a setting names.

    Args:
        path: a .csv or .parquet file.
        key: the setting, for messages.

    Returns:
        Its rows, of a CSV file as text with empty values null, and the file's entry in the account of inputs.

    Raises:
        InputMissing: it is not there.
        DataError: it cannot be parsed.
    """
    if not path.is_file():
        raise InputMissing(f"{path}: no such file; correct {key}")
    table = _read(path, "items")
    return table, describe_file(path, table.num_rows)


def _parser(path: Path, name: str, root: Path) -> Callable[[], pa.Table]:
    return lambda: _with_partitions(_read(path, name), _partitions(path, root))


def _find(folder: Path, name: str) -> list[Path]:
    """The files of a table in natural order; none where it is not there."""
    pieces = re.compile(rf"{name}([-_.].*)?\.(parquet|csv)")
    beside = [path for path in folder.iterdir() if path.is_file() and pieces.fullmatch(path.name)]
    inside = [path for path in below(folder / name) if path.suffix in _SUFFIXES and _is_data(path, folder)]
    forms = [form for form in (*_by_suffix(beside), *_by_suffix(inside)) if form]
    whole = [path for path in beside if path.stem == name]
    if len(forms) > 1 or (whole and len(beside) > 1):
        first, second = sorted(str(form[0]) for form in forms)[:2] if len(forms) > 1 else sorted(map(str, beside))[:2]
        raise DataError(f"{name} is there twice: {first} and {second}; keep one form of it")
    return sorted(forms[0], key=_natural) if forms else []


def _by_suffix(paths: list[Path]) -> list[list[Path]]:
    return [[path for path in paths if path.suffix == suffix] for suffix in _SUFFIXES]


def _is_data(path: Path, folder: Path) -> bool:
    """Whether a file below a table's folder holds rows: writers leave `_SUCCESS`, `.part.crc` and `_temporary/`."""
    return path.is_file() and not any(part.startswith(("_", ".")) for part in path.relative_to(folder).parts)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts part-2 before part-10."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"(\d+)", str(path))]


def _read(path: Path, name: str) -> pa.Table:
    if path.suffix == ".csv":
        table = read_text_table(path)
        # Text cannot tell an empty value from none; in columns of the user's own it is none.
        return table if name == "interactions" else _empty_as_null(table)
    try:
        ids = COLUMNS[:2] if name == "interactions" else ()
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=ids) as file:
            names = [column for column in file.schema_arrow.names if not _PANDAS_INDEX.fullmatch(column)]
            if name == "interactions" and "occurred_at" in names:  # without it, another column may be the time
                names = [column for column in names if column in COLUMNS]
            table = file.read(columns=names)
            table.validate(full=True)  # text that is not UTF-8 would fail much later
            return table
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: not a readable Parquet file ({reason}); write it again") from error


def _empty_as_null(table: pa.Table) -> pa.Table:
    kept = ("item_id", "user_id", "title")
    for at, name in enumerate(table.column_names):
        if name not in kept:
            table = table.set_column(at, name, _nullified(table.column(at)))
    return table


def _nullified(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def _partitions(path: Path, root: Path) -> dict[str, str]:
    """The columns that `key=value` folders between the table's folder and the file stand for; of one key the first."""
    found: dict[str, str] = {}
    for word in path.parent.relative_to(root).parts if root in path.parents else ():
        key, equals, value = word.partition("=")
        if equals:
            found.setdefault(key, value)
    return found


def _with_partitions(table: pa.Table, partitions: dict[str, str]) -> pa.Table:
    """Adds the columns that the file lacks."""
    for key, value in partitions.items():
        if key not in table.column_names:
            table = table.append_column(key, pa.array([value] * table.num_rows, pa.string()))
    return table
