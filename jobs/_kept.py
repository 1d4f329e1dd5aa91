"""Only what changed: users on whom nothing new bears keep the rows of the parent run.

    runs/<run_id>/user_digests.npy    uint64, one per row of `users`, in its order; see `score.user_digests`

A run without the file is scored in full: it is older, or a user was forgotten in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbatch import __version__, schemas, score, store
from recbatch.config import Config
from recbatch.contracts import NO_ITEM, Bools, Dataset, Int32s, Json, Lists
from recbatch.score import Ranker
from recbatch.store import Lake

from ._parent import sound, versions

FILE = "user_digests.npy"
_TABLES = (schemas.RECOMMENDATIONS, schemas.RECOMMENDATIONS_BUFFER)
_LAST_KEPT = schemas.SOURCES.index("model")
"""Rows by popularity, of a later source, are tonight's in every list."""
_UNKNOWN = -2
_COLUMNS = ["user_id", "rank", "item_id", "score", "source", "because_item_id"]
_TEXTS = ["user_id", "item_id", "source", "because_item_id"]


@dataclass(frozen=True, slots=True)
class Digests:
    """What tonight's lists depend on."""

    shared: str | None
    """None where lists are by popularity only."""
    users: npt.NDArray[np.uint64] | None
    """Shape (users,); None where the next night cannot have the same `shared`: candidates follow fashion."""

    @classmethod
    def of(cls, ranker: Ranker, data: Dataset, config: Config, model_id: str) -> Digests:
        """Of tonight."""
        settings: Json = {
            "recbatch": __version__,
            "versions": versions(),
            "model": model_id,
            "k": config.score.k,
            "buffer": config.score.buffer,
            "rule_settings": config.digest("rules"),
        }
        shared = score.shared_digest(ranker, data, settings)
        lasting = shared is not None and (config.score.fashion == "trained" or not data.has_times)
        return cls(shared, score.user_digests(ranker, data) if lasting else None)

    def write(self, folder: Path) -> None:
        """Puts the users' digests into a run's folder."""
        if self.users is not None:
            np.save(folder / FILE, self.users, allow_pickle=False)


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group of a table that is sorted by user."""

    path: Path
    number: int
    metadata: pq.FileMetaData
    users: tuple[str, str] | None
    """The first and the last; None where the file does not say."""

    def meets(self, first: str, last: str) -> bool:
        return self.users is None or not (self.users[1] < first or last < self.users[0])


@dataclass(frozen=True, slots=True)
class Parent:
    """The run before, and who may keep its rows."""

    groups: dict[str, list[_Group]]
    """By table, in row order."""
    data: Dataset
    length: int
    same: Bools
    """Shape (users,)."""

    @classmethod
    def of(cls, lake: Lake, parent: Json | None, digests: Digests, data: Dataset, config: Config) -> Parent | None:
        """The parent run; none where nobody keeps anything: other candidates, no digests, or a file is damaged."""
        if parent is None or digests.users is None or parent.get("scored_with") != digests.shared:
            return None
        folder = lake.run(parent["run_id"])
        if not config.score.reuse or not sound(folder, parent, (*_TABLES, schemas.USERS), FILE):
            return None
        users = pq.read_table(folder / schemas.USERS.name, columns=["user_id"], partitioning=None)["user_id"]
        was = np.load(folder / FILE, allow_pickle=False)
        if len(was) != len(users):
            return None
        row = pc.index_in(data.user_ids, value_set=users.combine_chunks()).fill_null(-1).to_numpy(zero_copy_only=False)
        same = np.zeros(data.num_users, dtype=np.bool_)
        same[row >= 0] = was[row[row >= 0]] == digests.users[row >= 0]
        if not same.any():
            return None
        groups = {table.name: _groups(folder / table.name) for table in _TABLES}
        return cls(groups, data, config.score.k + config.score.buffer, same)

    def lists(self, users: Int32s) -> Lists:
        """The lists that those of some users keep who keep theirs: whole ones, without a row by popularity.

        Args:
            users: consecutive positions, at least one.
        """
        names = self.data.user_ids.slice(int(users[0]), len(users))
        shape = (len(users), self.length)
        positions, because = np.full(shape, NO_ITEM, np.int32), np.full(shape, NO_ITEM, np.int32)
        scores, sources = np.full(shape, -np.inf, np.float32), np.full(shape, len(schemas.SOURCES), np.int8)
        for rows in self._rows(names[0].as_py(), names[-1].as_py()):
            user, place = _codes(rows["user_id"], names), rows["rank"].to_numpy() - 1
            there = (user >= 0) & (place < self.length)
            some = slice(None) if there.all() else there
            at = (user * np.int32(self.length) + place)[some]
            for into, values in (
                (positions, _codes(rows["item_id"], self.data.item_ids)),
                (because, _codes(rows["because_item_id"], self.data.item_ids)),
                (scores, rows["score"].to_numpy()),
                (sources, _codes(rows["source"], pa.array(schemas.SOURCES))),
            ):
                into.ravel()[at] = values[some]
        whole = (positions >= 0) & (sources >= 0) & (sources <= _LAST_KEPT) & (because != _UNKNOWN)
        kept = np.flatnonzero(self.same[users] & whole.all(axis=1))
        return Lists(users[kept], positions[kept], scores[kept], sources[kept], because[kept])

    def _rows(self, first: str, last: str) -> Iterator[pa.Table]:
        """The row groups that may hold one of some users, file by file."""
        for groups in self.groups.values():
            wanted = [group for group in groups if group.meets(first, last)]
            for path, some in groupby(wanted, key=lambda group: group.path):
                mine = list(some)
                with pq.ParquetFile(
                    path,
                    metadata=mine[0].metadata,
                    read_dictionary=_TEXTS,
                    page_checksum_verification=True,
                ) as file:
                    yield file.read_row_groups([group.number for group in mine], columns=_COLUMNS)


def _groups(folder: Path) -> list[_Group]:
    found = []
    for path in store.matching(folder, "*.parquet"):
        metadata = pq.read_metadata(path)
        for number in range(metadata.num_row_groups):
            told = metadata.row_group(number).column(0).statistics
            users = (str(told.min), str(told.max)) if told is not None and told.has_min_max else None
            found.append(_Group(path, number, metadata, users))
    return found


def _codes(column: pa.ChunkedArray, among: pa.Array) -> Int32s:
    """Place of each value, NO_ITEM for null, _UNKNOWN for a value that is not there.

    The dictionaries of all row groups are looked up at once: each look-up begins with a table over `among`.
    """
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    if not chunks:
        return np.zeros(0, np.int32)
    found = pc.index_in(pa.concat_arrays([chunk.dictionary for chunk in chunks]), value_set=among)
    codes = found.fill_null(_UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    start, told = 0, []
    for chunk in chunks:
        own = codes[start : start + len(chunk.dictionary)]
        if chunk.null_count:
            places = chunk.indices.fill_null(len(own)).to_numpy(zero_copy_only=False)
            own = np.append(own, np.int32(NO_ITEM))
        else:
            places = chunk.indices.to_numpy()
        told.append(own[places])
        start += len(chunk.dictionary)
    return np.concatenate(told)
