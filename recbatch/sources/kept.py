"""Checked rows of input partitions, kept from night to night so that a file is parsed once.

    LAKE/_cache/<key>/checked.arrow, raw.arrow, manifest.json

An entry is named by everything its rows depend on: the sha256 of the file, the `key=value` folders above it, its
suffix, the unit of times, and the versions of recbatch and pyarrow. `checked.arrow` holds the contract's columns and a
fault code per row, `raw.arrow` the rows as parsed, which only the quarantine reads. An entry is used after every byte
has met its seal; a damaged one is deleted and the file parsed again. What no file of a reading uses is deleted.

Not kept: a file that changed while it was read, one with impossible times (the next day may see them otherwise), and
one that names a forgotten user.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import __version__, store
from recbatch.contracts import Json
from recbatch.errors import naming
from recbatch.sources.ledger import REASONS, Codes
from recbatch.sources.parts import KeptPart, Part, sha256_of
from recbatch.store import Lake

_FORMAT = 2
_CODE = "code"
_IMPOSSIBLE = 1 + REASONS.index("impossible_timestamp")
_LATEST = "latest_microseconds"


@dataclass(frozen=True, slots=True)
class Kept:
    """The entries of one lake, for one reading; the caller holds the lake's lock."""

    lake: Lake
    forgotten: frozenset[str]
    """Digests of forgotten users: what names one of them is not kept."""
    used: set[str] = field(default_factory=set)
    """Keys that the reading came by."""
    parsed: list[Path] = field(default_factory=list)
    """Files that had to be parsed."""

    def part(self, path: Path, partitions: Json, unit: str, parse: Callable[[], pa.Table]) -> Part | KeptPart:
        """A file's rows: kept ones where there are any, else parsed.

        Args:
            path: the file.
            partitions: columns that its folders stand for.
            unit: of numeric times.
            parse: reads the rows.

        Raises:
            DataError: the file cannot be parsed.
            OSError: it cannot be read.
        """
        before = _state(path)
        digest = sha256_of(path)
        depends_on: Json = {"file": digest, "suffix": path.suffix, "partitions": partitions, "unit": unit}
        depends_on |= {"format": _FORMAT, "recbatch": __version__, "pyarrow": pa.__version__}
        key = store.sha256_text(store.canonical(depends_on).decode())
        self.used.add(key)
        entry = self.lake.cache / key
        if entry.is_dir():
            if not store.faults(entry):
                return _opened(str(path), entry, digest)
            store.discard(self.lake, entry)
        self.parsed.append(path)
        table = parse()
        return Part(str(path), table, digest, key if _state(path) == before else None)

    def keep(self, part: Part, checked: pa.Table, codes: Codes) -> None:
        """Writes an entry.

        Args:
            part: the rows as parsed.
            checked: the same rows in the contract's columns.
            codes: shape (rows,): the fault of each row by itself.

        Raises:
            OSError: the file system refuses; no entry appears.
        """
        if part.key is None or (codes == _IMPOSSIBLE).any() or self._names_forgotten(part.table):
            return
        if (self.lake.cache / part.key).is_dir():  # of two files with the same bytes, as days without events
            return
        latest = pc.max(checked["occurred_at"].cast(pa.int64())).as_py()
        staged = self.lake.staging / f"cache-{part.key}"
        store.make_folder(staged)
        _write(staged / "checked.arrow", checked.append_column(_CODE, pa.array(codes)))
        _write(staged / "raw.arrow", part.table)
        store.seal(staged, {"file_sha256": part.sha256, "rows": part.num_rows, _LATEST: latest})
        store.make_folder(self.lake.cache)
        store.move_folder(staged, self.lake.cache / part.key)

    def drop_unused(self) -> None:
        """Deletes the entries that the reading did not come by."""
        for entry in sorted(self.lake.cache.glob("*")):
            if entry.name not in self.used:
                store.discard(self.lake, entry)

    def _names_forgotten(self, table: pa.Table) -> bool:
        if not self.forgotten:
            return False
        columns = (table[name] for name in table.column_names if name != "item_id")
        values = (str(value).strip() for column in columns for value in pc.unique(column).to_pylist())
        return any(store.sha256_text(value) in self.forgotten for value in values)


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _head(entry: Path) -> Json:
    return store.read_checked_json(entry / store.MANIFEST)


def _opened(name: str, entry: Path, digest: str) -> KeptPart:
    table = _read(entry / "checked.arrow")
    codes = np.asarray(table[_CODE], np.int8)
    latest, raw = _head(entry)[_LATEST], entry / "raw.arrow"
    return KeptPart(name, table.drop_columns([_CODE]), codes, digest, latest, _schema(raw), lambda: _read(raw))


def _read(path: Path) -> pa.Table:
    with naming(path), pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all()


def _schema(path: Path) -> pa.Schema:
    with naming(path), pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).schema


def _write(path: Path, table: pa.Table) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd", unify_dictionaries=True)
    with naming(path), pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema, options=options) as out:
        out.write_table(table)
