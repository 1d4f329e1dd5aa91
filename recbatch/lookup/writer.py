"""From a run's Parquet tables to `lookup.arrow`, in bounded memory and without a loop over users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbatch import _ids, schemas, store
from recbatch.contracts import Int32s, Int64s
from recbatch.errors import DataError

_ROWS_PER_BATCH = 2_000_000
"""Rows in one record batch, about: 26 MB in the file, a few times that while it is made."""
_ROWS_PER_READ = 320_000
"""Rows read at a time from one table: some row groups of `publish.ROWS_PER_GROUP`."""
_BUFFER_BYTES = 1 << 20
_COLUMNS = ["user_id", "item_id", "score", "source", "because_item_id"]
_TEXTS = ["user_id", "item_id", "source", "because_item_id"]


def write_lookup(folder: Path, target: Path, k: int) -> int:
    """See `recbatch.lookup.write`."""
    items = _read(folder, schemas.ITEMS, ["item_id", "title"])
    names = _Names(items["item_id"].combine_chunks(), items["title"].combine_chunks())
    users = _read(folder, schemas.USERS, ["user_id"])["user_id"].combine_chunks()
    lists, buffer = _Rows(folder, schemas.RECOMMENDATIONS, names), _Rows(folder, schemas.RECOMMENDATIONS_BUFFER, names)
    step = max(1, _ROWS_PER_BATCH * max(len(users), 1) // max(lists.total + buffer.total, 1))
    schema = _schema(names, k)
    with (
        pa.output_stream(str(target), compression=None, buffer_size=_BUFFER_BYTES) as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        writer.write(_popular(folder, names, schema))
        for start in range(0, len(users), step):
            some = users.slice(start, step)
            writer.write(_batch(some, lists.of(some), buffer.of(some), names, schema))
    for table in (lists, buffer):
        table.require_read_up()
    return target.stat().st_size


class _Names:
    """The items of the run: the file's dictionary, and the way from an id to its place in it."""

    def __init__(self, ids: pa.StringArray, titles: pa.StringArray) -> None:
        self.ids = ids
        self.dictionary = pa.StructArray.from_arrays([ids, titles], names=["item_id", "title"])

    def places(self, texts: pa.ChunkedArray, table: str) -> Int32s:
        """The place of each id; -1 for null."""
        found = _ids.positions(texts, self.ids)
        if np.count_nonzero(found < 0) > texts.null_count:
            unknown = texts.filter(pa.array(found < 0)).drop_null()[0]
            raise DataError(f"{table}: item {unknown} does not stand in items; run the night again")
        return found


class _Part:
    """Rows of some users, user by user: how many each has, and the columns."""

    def __init__(self, user_of: Int32s, columns: tuple[np.ndarray, ...], users: int) -> None:
        self.counts: Int64s = np.bincount(user_of, minlength=users)
        self.columns = columns


class _Rows:
    """The rows of one table in file order, handed out user by user in step with the ids."""

    def __init__(self, folder: Path, table: schemas.Table, names: _Names) -> None:
        files = store.matching(folder / table.name, "*.parquet")
        self.total = sum(pq.read_metadata(file).num_rows for file in files)
        self._name, self._names = table.name, names
        self._batches = self._read(files)
        self._rest = next(self._batches, None)

    def of(self, users: pa.StringArray) -> _Part:
        """The rows of these users, which follow those asked for before."""
        last, taken = users[-1], []
        while self._rest is not None:
            ids = self._rest["user_id"]
            up_to = pc.less_equal(ids.dictionary, last).take(ids.indices)
            cut = pc.sum(up_to).as_py() or 0
            if cut:
                taken.append(self._rest.slice(0, cut))
            if cut < len(ids):
                self._rest = self._rest.slice(cut)
                break
            self._rest = next(self._batches, None)
        if not taken:
            nothing = (np.empty(0, kind) for kind in (np.int32, np.float32, np.int8, np.int32))
            return _Part(np.empty(0, np.int32), tuple(nothing), len(users))
        user_of, *columns = self._columns(pa.Table.from_batches(taken), users)
        if (np.diff(user_of) < 0).any():
            raise DataError(f"{self._name}: not sorted by user_id; run the night again")
        return _Part(user_of, tuple(columns), len(users))

    def require_read_up(self) -> None:
        """Raises where a row is left: it is of a user behind the last one."""
        if self._rest is not None:
            raise self._stranger(self._rest["user_id"][0])

    def _columns(self, rows: pa.Table, users: pa.StringArray) -> tuple[np.ndarray, ...]:
        user_of = _ids.positions(rows["user_id"], users)
        if (user_of < 0).any():
            raise self._stranger(rows["user_id"].filter(pa.array(user_of < 0))[0])
        return (
            user_of,
            self._names.places(rows["item_id"], self._name),
            rows["score"].to_numpy(),
            _ids.positions(rows["source"], pa.array(schemas.SOURCES)).astype(np.int8),
            self._names.places(rows["because_item_id"], self._name),
        )

    def _stranger(self, user: pa.Scalar) -> DataError:
        return DataError(f"{self._name}: user {user} does not stand in users, or not in order; run the night again")

    @staticmethod
    def _read(files: list[Path]) -> Iterator[pa.RecordBatch]:
        for file in files:
            with pq.ParquetFile(file, read_dictionary=_TEXTS) as parquet:
                yield from (
                    batch
                    for batch in parquet.iter_batches(_ROWS_PER_READ, columns=_COLUMNS, use_threads=True)
                    if batch.num_rows
                )


def _schema(names: _Names, k: int) -> pa.Schema:
    item = pa.dictionary(pa.int32(), names.dictionary.type)
    row = [("item", item), ("score", pa.float32()), ("source", pa.int8()), ("because", pa.int32())]
    return pa.schema([("user_id", pa.string()), ("rows", pa.list_(pa.struct(row)))], metadata={"k": str(k)})


def _batch(users: pa.StringArray, lists: _Part, buffer: _Part, names: _Names, schema: pa.Schema) -> pa.RecordBatch:
    """Interleaves lists and buffer: of each user first the one, then the other."""
    offsets = np.concatenate([[0], np.cumsum(lists.counts + buffer.counts)])
    turns = np.stack([lists.counts, buffer.counts], axis=1).ravel()
    is_ours = np.repeat(np.tile([True, False], len(users)), turns)
    columns = []
    for ours, theirs in zip(lists.columns, buffer.columns, strict=True):
        whole = np.empty(len(is_ours), dtype=ours.dtype)
        whole[is_ours], whole[~is_ours] = ours, theirs
        columns.append(whole)
    return _record(users, offsets, columns, names, schema)


def _popular(folder: Path, names: _Names, schema: pa.Schema) -> pa.RecordBatch:
    table = _read(folder, schemas.POPULAR, ["segment", "item_id", "score"])
    overall = table.filter(pc.equal(table["segment"], "all"))
    items = names.places(overall["item_id"].dictionary_encode(), schemas.POPULAR.name)
    source = np.full(len(items), schemas.SOURCES.index("popular"), dtype=np.int8)
    columns = [items, _numpy(overall["score"]), source, np.full(len(items), -1, dtype=np.int32)]
    return _record(pa.array([""]), np.array([0, len(items)]), columns, names, schema)


def _record(
    users: pa.StringArray, offsets: Int64s, columns: list[np.ndarray], names: _Names, schema: pa.Schema
) -> pa.RecordBatch:
    item, *rest = (pa.array(column) for column in columns)
    rows = pa.StructArray.from_arrays(
        [pa.DictionaryArray.from_arrays(item, names.dictionary), *rest],
        fields=list(schema.field("rows").type.value_type),
    )
    return pa.RecordBatch.from_arrays([users, pa.ListArray.from_arrays(offsets.astype(np.int32), rows)], schema=schema)


def _read(folder: Path, table: schemas.Table, columns: list[str]) -> pa.Table:
    files = store.matching(folder / table.name, "*.parquet")
    return pa.concat_tables([pq.read_table(file, columns=columns, partitioning=None) for file in files])


def _numpy(array: pa.Array) -> np.ndarray:
    return np.asarray(array.to_numpy(zero_copy_only=False))
