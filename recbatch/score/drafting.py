"""Lists under construction: streams of titles appended to many lists at once, each title where it still fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recbatch import schemas
from recbatch.contracts import NO_ITEM, Bools, Float32s, Int32s, Int64s, Lists
from recbatch.rules import Caps
from recbatch.rules.caps import Int16s


@dataclass(frozen=True, slots=True)
class Choice:
    """What some lists would take of their streams."""

    taken: Bools
    """Shape (R, n)."""
    held: Int16s | None
    """Shape (R, values + 1): what they would hold of each value that is limited; none without limits."""

    def of(self, lists: Int64s) -> Choice:
        """What some of them would take."""
        return Choice(self.taken[lists], None if self.held is None else self.held[lists])


@dataclass(frozen=True, slots=True)
class Draft:
    """Lists of a batch and how far they are."""

    lists: Lists
    have: Int64s
    """Shape (B,): titles so far."""
    caps: Caps | None = None
    held: Int16s | None = None
    """Shape (B, values + 1): what each list holds of each value that is limited."""

    @classmethod
    def empty(cls, users: Int32s, length: int, caps: Caps | None) -> Draft:
        """Lists without a title, `length` places each."""
        shape = (len(users), length)
        lists = Lists(
            users=users,
            positions=np.full(shape, NO_ITEM, dtype=np.int32),
            scores=np.full(shape, -np.inf, dtype=np.float32),
            sources=np.full(shape, schemas.SOURCES.index("popular"), dtype=np.int8),
            because=np.full(shape, NO_ITEM, dtype=np.int32),
        )
        return cls(
            lists, np.zeros(len(users), dtype=np.int64), caps, None if caps is None else caps.nothing(len(users))
        )

    @property
    def length(self) -> int:
        """Places per list."""
        return int(self.lists.positions.shape[1])

    def choose(self, rows: Int64s, stream: Int32s) -> Choice:
        """What the lists `rows` would take of their streams, shape (R, n): best first, NO_ITEM for none."""
        room = self.length - self.have[rows]
        if self.caps is None or self.held is None:
            there = stream != NO_ITEM
            return Choice(there & (np.cumsum(there, axis=1) <= room[:, None]), None)
        held = self.held[rows]
        return Choice(self.caps.choose(stream, held, room), held)

    def put(
        self, rows: Int64s, stream: Int32s, scores: Float32s, source: int | npt.NDArray[np.int8], choice: Choice
    ) -> None:
        """Appends what was chosen; `scores` has the shape of `stream`, `source` counts for all or one for each list."""
        row, column = np.nonzero(choice.taken)
        place = (np.cumsum(choice.taken, axis=1) - 1 + self.have[rows][:, None])[row, column]
        lists, at = self.lists, rows[row]
        lists.positions[at, place] = stream[row, column]
        lists.scores[at, place] = scores[row, column]
        lists.sources[at, place] = np.broadcast_to(source, len(rows))[row]
        self.have[rows] += choice.taken.sum(axis=1)
        if self.held is not None and choice.held is not None:
            self.held[rows] = choice.held

    def append(self, rows: Int64s, stream: Int32s, scores: Float32s, source: int | npt.NDArray[np.int8]) -> None:
        """`choose` and `put`."""
        self.put(rows, stream, scores, source, self.choose(rows, stream))

    def begin(self, rows: Int64s, stream: Int32s, scores: Float32s, source: int) -> None:
        """`append` to empty lists without caps, of whole rows that have no gaps: the usual night."""
        lists = self.lists
        lists.positions[rows], lists.scores[rows], lists.sources[rows] = stream, scores, source
        self.have[rows] = (stream != NO_ITEM).sum(axis=1)

    def could_take(self, rows: Int64s, choice: Choice, kinds: Int32s) -> Bools:
        """Shape (R,): lists that a choice leaves short although a title of some kind, see `Caps.kinds`, still fits."""
        short: Bools = self.have[rows] + choice.taken.sum(axis=1) < self.length
        if self.caps is None or choice.held is None:
            return short
        return np.asarray(short & ~self.caps.full(choice.held, kinds))

    def copy(self, rows: Int64s, origin: Int64s) -> None:
        """Gives the empty lists `rows` what the lists `origin` hold."""
        for name in ("positions", "scores", "sources", "because"):
            values = getattr(self.lists, name)
            values[rows] = values[origin]
        self.have[rows] = self.have[origin]
