"""Shards of users: scored on all cores, written beside that, kept when finished, so that a killed night goes on there.

    LAKE/_resume/shards-<key>/<number>/    manifest.json, recommendations.parquet, recommendations_buffer.parquet,
                                           recommended.npy

A shard is a pure function of what the key is made of and of its users; the tables of a run are links to its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbatch import __version__, publish, schemas, score, store
from recbatch.behind import behind
from recbatch.config import Config
from recbatch.contracts import Dataset, Int32s, Int64s, Json, Lists
from recbatch.publish import TableWriter
from recbatch.score import Ranker
from recbatch.store import Lake

from ._kept import Digests, Parent
from ._lake import RESULT_SECTIONS
from ._model import Model
from ._plan import Plan
from ._say import Say

_SHARDS = 20
"""At least so many in a large night: a kill costs one of them at most, a twentieth of the work."""
_LEAST_USERS = 8_192
"""… unless they became smaller than this: files of some megabytes."""
_WAITING = 2
"""Ranked batches that may wait to be written, and shards to be sealed: what bounds memory, and what a kill costs."""
_BATCHES_READ = 4
"""Batches for which the parent's rows are read at once."""
_TABLES = (schemas.RECOMMENDATIONS, schemas.RECOMMENDATIONS_BUFFER)


def write(
    lake: Lake,
    folder: Path,
    plan: Plan,
    model: Model,
    data: Dataset,
    config: Config,
    say: Say,
    parent: Json | None = None,
) -> tuple[Int64s, dict[str, int], Json]:
    """Ranks every user and writes `recommendations` and `recommendations_buffer`, a file per shard.

    Returns:
        Shape (users,): rows among the first k ranks; the rows of each table; and for the manifest `scored_with` and
        `kept_users`, those who keep the rows of the run `parent`.

    Raises:
        OSError: the file system refuses.
    """
    key = run_key(data, config, model.model_id, plan.ranker)
    with say.part("digests"):
        digests = Digests.of(plan.ranker, data, config, model.model_id)
        before = Parent.of(lake, parent, digests, data, config)
    recommended, rows, kept = Shards(lake, plan.ranker, data, config, key, before).write(folder, say)
    digests.write(folder)
    if kept:
        say.event("kept", users=kept, of=data.num_users)
    return recommended, rows, {"scored_with": digests.shared, "kept_users": kept}


def run_key(data: Dataset, config: Config, model_id: str, ranker: Ranker) -> str:
    """12 hex digits over everything that a list depends on besides its user."""
    depends_on: Json = {
        "recbatch": __version__,
        "run_date": data.run_date.isoformat(),
        "data": data.fingerprint,
        "config": config.digest(*RESULT_SECTIONS),
        "rules": ranker.rules.digest,
        "model": model_id,
        "search": repr(ranker.index and (ranker.index.engine, getattr(ranker.index, "effort", 0))),
    }
    return hashlib.sha256(store.canonical(depends_on)).hexdigest()[:12]


def ranges(users: int, most: int) -> list[Int32s]:
    """The users of each shard, in id order.

    Args:
        users: of the dataset.
        most: users per shard.
    """
    size = min(most, max(_LEAST_USERS, -(-users // _SHARDS)))
    return [np.arange(start, min(start + size, users), dtype=np.int32) for start in range(0, users, size)]


@dataclass(frozen=True, slots=True)
class Shards:
    """The lists of one night, shard by shard."""

    lake: Lake
    ranker: Ranker
    data: Dataset
    config: Config
    key: str
    parent: Parent | None = None

    def write(self, folder: Path, say: Say) -> tuple[Int64s, dict[str, int], int]:
        """Rows as the function `write` gives them, and how many users keep theirs.

        Shards that are finished already are taken as they are.
        """
        parts, recommended = ranges(self.data.num_users, self.config.score.users_per_shard), []
        places = [self.lake.resume / f"shards-{self.key}" / f"{number:05d}" for number in range(len(parts))]
        rows = dict.fromkeys((table.name for table in _TABLES), 0)
        reused = unchanged = 0
        with behind(_WAITING) as then:
            for kept, users in zip(places, parts, strict=True):
                if store.faults(kept):
                    self._score(kept, users, say, then)
                else:
                    reused += 1
        for number, kept in enumerate(places):
            head = store.read_checked_json(kept / store.MANIFEST)
            unchanged += head.get("kept_users", 0)
            recommended.append(np.load(kept / "recommended.npy", allow_pickle=False))
            for table in _TABLES:
                rows[table.name] += head["rows"][table.name]
                store.make_folder(folder / table.name)
                store.link(kept / f"{table.name}.parquet", folder / table.name / f"part-{number:05d}.parquet")
        if reused:
            say.event("resumed", shards=reused, of=len(parts))
        if not parts:
            for table in _TABLES:
                publish.write_table(folder, table, schemas.arrow(table).empty_table())
        return np.concatenate([np.zeros(0, dtype=np.int64), *recommended]), rows, unchanged

    def _score(self, kept: Path, users: Int32s, say: Say, then: Callable[..., None]) -> None:
        """Scores one shard; what is ready of it is written beside what follows, the next shard too."""
        shard = _Shard(self.lake.staging / f"shard-{kept.name}", kept, users, self.data, self.config.score.k)
        for batch, unchanged in self._lists(users, say):
            then(shard.add, batch, unchanged)
        then(shard.finish, say)

    def _lists(self, users: Int32s, say: Say) -> Iterator[tuple[Lists, int]]:
        """Lists in the order of users, and how many of each batch are the parent's.

        Those who keep theirs are read for several batches at once, so that the few others fill one.
        """
        batch = self.config.score.users_per_batch
        if self.parent is None:
            yield from ((lists, 0) for lists in self._ranked(users, say))
            return
        for start in range(0, len(users), _BATCHES_READ * batch):
            some = users[start : start + _BATCHES_READ * batch]
            with say.part("kept"):
                own = self.parent.lists(some)
            kept, others = len(own.users), np.setdiff1d(some, own.users)
            lists = Lists.joined([own, *self._ranked(others, say)])
            lists = lists.rows(np.argsort(lists.users))
            for first in range(0, len(some), batch):
                yield lists.rows(slice(first, first + batch)), kept if first == 0 else 0

    def _ranked(self, users: Int32s, say: Say) -> Iterator[Lists]:
        """Lists that are embedded and searched for."""
        settings = self.config.score
        length = settings.k + settings.buffer
        batches = self.ranker.rank_all(self.data.events, users, length, settings.users_per_batch, part=say.part)
        while True:
            with say.part("ranked"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


class _Shard:
    """The files of one shard until they are whole and put where a later run of the night finds them."""

    def __init__(self, work: Path, kept: Path, users: Int32s, data: Dataset, k: int) -> None:
        self._work, self._kept, self._users, self._data, self._k = work, kept, users, data, k
        for folder in (work, kept):
            shutil.rmtree(folder, ignore_errors=True)
        store.make_folder(work)
        store.make_folder(kept.parent)
        self._open = contextlib.ExitStack()
        self._lists, self._buffer = (self._open.enter_context(TableWriter(work, table)) for table in _TABLES)
        self._recommended, self._unchanged = np.zeros(len(users), dtype=np.int64), 0

    def add(self, batch: Lists, unchanged: int) -> None:
        """Writes lists, so many of which are the parent's."""
        self._lists.write(score.to_table(batch, self._data, last_rank=self._k))
        self._buffer.write(score.to_table(batch, self._data, first_rank=self._k + 1))
        self._recommended[batch.users - self._users[0]] = batch.lengths(self._k)
        self._unchanged += unchanged

    def finish(self, say: Say) -> None:
        """Seals the shard. What `say` hears of is safe from a kill."""
        self._open.close()
        np.save(self._work / "recommended.npy", self._recommended, allow_pickle=False)
        for table in _TABLES:
            (self._work / table.name / "part-00000.parquet").rename(self._work / f"{table.name}.parquet")
            (self._work / table.name).rmdir()
        rows = {table.name: writer.rows for table, writer in zip(_TABLES, (self._lists, self._buffer), strict=True)}
        store.seal(self._work, {"rows": rows, "users": len(self._users), "kept_users": self._unchanged})
        store.move_folder(self._work, self._kept)
        say.progress("score", int(self._users[-1]) + 1, self._data.num_users)
