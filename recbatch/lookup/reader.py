"""Lists of the live run out of a memory-mapped file. No TensorFlow, no DuckDB, no Parquet."""

from __future__ import annotations

import gc
import os
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recbatch.contracts import Json
from recbatch.errors import InputMissing, RecbatchError, StorageFailed
from recbatch.schemas import SOURCES
from recbatch.store import Lake, read_checked_json

REFRESH_SECONDS = 0.1
"""How often `latest.json` is looked at, at most: one stat, about a microsecond."""


class Row(NamedTuple):
    """One recommendation: the columns of `recommendations` without the user."""

    rank: int
    item_id: str
    title: str
    score: float
    source: str
    because_item_id: str | None


_UNREAD: Any = object()
_row = partial(tuple.__new__, Row)  # a third of the time of Row(...): it takes the tuple as it is


class Reader:
    """Looks up users in the live run of a lake; safe to share between threads.

    It keeps the file mapped and notices a new run, a rollback or a withdrawn title within `REFRESH_SECONDS`. A call
    that has begun ends on the run it began on. Where the new run cannot be opened, the one before goes on being served
    and `trouble` says why.
    """

    def __init__(self, lake: str | os.PathLike[str], refresh_seconds: float = REFRESH_SECONDS) -> None:
        """Maps the live run.

        Args:
            lake: the lake's folder.
            refresh_seconds: how often to look for a new run, at most.

        Raises:
            InputMissing: nothing is published here, or the live run has no `lookup.arrow`.
            StorageFailed: `latest.json` or `lookup.arrow` is damaged.
        """
        self._lake, self._refresh_seconds = Lake(Path(lake)), refresh_seconds
        self._lock = threading.Lock()
        self._stamp = self._stamp_now()
        self._run = _Run.open(self._lake)
        self._look_again = time.monotonic() + refresh_seconds
        self.trouble: str | None = None
        """Why the newest run is not served; none where it is."""

    @property
    def run_id(self) -> str:
        """The run that the next call answers from."""
        return self._current().run_id

    @property
    def k(self) -> int:
        """Rows of a whole list."""
        return self._current().k

    def get(self, user_id: str, k: int | None = None) -> list[Row]:
        """One user's list, best first.

        Args:
            user_id: anybody; who is not known gets what is popular.
            k: the first so many rows; none: the run's k. At most the list and its buffer, `k + buffer` of the run.

        Returns:
            k rows with ranks 1..k; fewer only where `users.shortfall_reason` says why.
        """
        return self._current().rows(user_id, k)

    def get_many(self, user_ids: Iterable[str], k: int | None = None) -> list[list[Row]]:
        """The lists of several users, all of one run, in the order asked for."""
        run = self._current()
        with _collecting_later:
            return [run.rows(user_id, k) for user_id in user_ids]

    def __contains__(self, user_id: str) -> bool:
        """Whether the run knows the user."""
        return self._current().find(user_id) is not None

    def _current(self) -> _Run:
        if time.monotonic() >= self._look_again and self._lock.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._look_again = time.monotonic() + self._refresh_seconds
                self._lock.release()
        return self._run

    def _refresh(self) -> None:
        try:
            stamp = self._stamp_now()
            if stamp != self._stamp:
                self._run, self._stamp, self.trouble = _Run.open(self._lake, self._run), stamp, None
        except RecbatchError as error:
            self.trouble = str(error)

    def _stamp_now(self) -> tuple[int, int]:
        try:
            facts = self._lake.latest.stat()
        except OSError as error:
            raise InputMissing(f"{self._lake.latest}: {error.strerror}; run `recbatch nightly` first") from error
        return facts.st_mtime_ns, facts.st_ino


class _CollectingLater:
    """Holds off Python's cyclic garbage collector while thousands of rows are made, none of which is in a cycle.

    The collector would walk all rows made so far again and again: a third of the time of 1,000 lists. Threads share it:
    the first to come switches it off, the last to go switches it on, if it was on.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._was_on = threading.Lock(), 0, False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *rest: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._was_on:
                gc.enable()


_collecting_later = _CollectingLater()


class _Run:
    """One run's mapped file, and the titles withdrawn from it. Never changed, so that threads may share it."""

    def __init__(self, latest: Json, path: Path) -> None:
        self.latest, self.run_id = latest, str(latest["run_id"])
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            self._blocks = [_Block(file.get_batch(number)) for number in range(file.num_record_batches)]
            self.k = int(file.schema.metadata[b"k"])
        except FileNotFoundError as error:
            raise InputMissing(
                f"{path}: no such file; publish the run again with `recbatch nightly --force`"
            ) from error
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, IndexError) as error:
            raise StorageFailed(f"{path}: cannot be mapped ({error}); run `recbatch verify`") from error
        self._firsts = [block.id(0) for block in self._blocks]
        items = self._blocks[0].items
        self._ids, self._titles = items.field("item_id"), items.field("title")
        self._id_of: list[Any] = [_UNREAD] * len(items) + [None]
        self._title_of: list[Any] = [_UNREAD] * len(items)
        self._withdrawn = self._places(latest.get("withdrawn", []))

    @classmethod
    def open(cls, lake: Lake, before: _Run | None = None) -> _Run:
        """The run that `latest.json` names; `before` where nothing has changed since."""
        latest = read_checked_json(lake.latest)
        if before is not None and latest == before.latest:
            return before
        return cls(latest, lake.run(latest["run_id"]) / "lookup.arrow")

    def _places(self, item_ids: Sequence[str]) -> frozenset[int]:
        if not item_ids:
            return frozenset()
        import pyarrow.compute as pc

        found = pc.is_in(self._ids, value_set=pa.array(item_ids))
        return frozenset(np.flatnonzero(found.to_numpy(zero_copy_only=False)).tolist())

    def find(self, user_id: str) -> tuple[_Block, int] | None:
        """Where a user stands: block and row."""
        wanted = user_id.encode("utf-8", "surrogatepass")
        block = self._blocks[bisect_right(self._firsts, wanted) - 1]
        row = block.find(wanted)
        return None if row is None or not wanted else (block, row)

    def rows(self, user_id: str, k: int | None) -> list[Row]:
        """See `Reader.get`."""
        length = self.k if k is None else max(k, 0)
        block, row = self.find(user_id) or (self._blocks[0], 0)
        items, scores, sources, because = block.columns(row, None if self._withdrawn else length)
        if self._withdrawn:
            kept = [place for place, item in enumerate(items) if item not in self._withdrawn][:length]
            items, scores, sources, because = (
                [column[place] for place in kept] for column in (items, scores, sources, because)
            )
            because = [-1 if item in self._withdrawn else item for item in because]
        return list(
            map(
                _row,
                zip(
                    range(1, len(items) + 1),
                    self._read(self._id_of, self._ids, items),
                    self._read(self._title_of, self._titles, items),
                    scores,
                    _pick(SOURCES, sources),
                    self._read(self._id_of, self._ids, because),
                    strict=True,
                ),
            )
        )

    @staticmethod
    def _read(known: list[Any], texts: pa.StringArray, places: list[int]) -> Sequence[Any]:
        """Texts by place, each decoded when it is first asked for; place -1 is None."""
        found = _pick(known, places)
        if _UNREAD in found:
            for place in places:
                if known[place] is _UNREAD:
                    known[place] = texts[place].as_py()
            found = _pick(known, places)
        return found


def _pick(values: Sequence[Any], places: list[int]) -> Sequence[Any]:
    # itemgetter gathers without a step of Python per row, but answers a lone value, not a tuple, for one place.
    return itemgetter(*places)(values) if len(places) > 1 else [values[place] for place in places]


class _Block:
    """One record batch, its buffers as they lie in the file."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        users, lists = batch.column("user_id"), batch.column("rows")
        rows = lists.values
        self.items: pa.StructArray = rows.field("item").dictionary
        self._num_users = len(users)
        _, starts, ids = users.buffers()
        self._starts = memoryview(starts).cast("i")
        self._ids = memoryview(ids or b"")
        self._offsets = memoryview(lists.buffers()[1]).cast("i")
        self._columns = tuple(
            array.to_numpy(zero_copy_only=True)
            for array in (rows.field("item").indices, rows.field("score"), rows.field("source"), rows.field("because"))
        )

    def id(self, row: int) -> bytes:
        """UTF-8 bytes of a user's id."""
        return bytes(self._ids[self._starts[row] : self._starts[row + 1]])

    def find(self, wanted: bytes) -> int | None:
        """The row of an id, by halving."""
        row = bisect_left(range(self._num_users), wanted, key=self.id)
        return row if row < self._num_users and self.id(row) == wanted else None

    def columns(self, row: int, length: int | None) -> list[list[Any]]:
        """The first `length` values of a user's item, score, source and because; all where none is given."""
        start, stop = self._offsets[row], self._offsets[row + 1]
        if length is not None:
            stop = min(stop, start + length)
        return [column[start:stop].tolist() for column in self._columns]
