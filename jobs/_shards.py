"""Shards of users: scored on all cores, written beside that, kept when finished, so that a killed night goes on there.

    LAKE/_resume/shards-<key>/<number>/    manifest.json, recommendations.parquet, recommendations_buffer.parquet,
                                           recommended.npy

A shard is a pure function of what the key is made of and of its users; the tables of a run are links to its files.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbatch import __version__, publish, schemas, score, store
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
_BATCHES_WAITING = 4
"""Ranked batches that may wait to be written: what bounds their memory."""
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
        rows = dict.fromkeys((table.name for table in _TABLES), 0)
        reused = unchanged = 0
        for number, users in enumerate(parts):
            kept = self.lake.resume / f"shards-{self.key}" / f"{number:05d}"
            if store.faults(kept):
                self._finish(kept, users, say)
            else:
                reused += 1
            head = store.read_checked_json(kept / store.MANIFEST)
            unchanged += head.get("kept_users", 0)
            recommended.append(np.load(kept / "recommended.npy", allow_pickle=False))
            for table in _TABLES:
                rows[table.name] += head["rows"][table.name]
                store.make_folder(folder / table.name)
                store.link(kept / f"{table.name}.parquet", folder / table.name / f"part-{number:05d}.parquet")
            say.progress("score", int(users[-1]) + 1, self.data.num_users)
        if reused:
            say.event("resumed", shards=reused, of=len(parts))
        if not parts:
            for table in _TABLES:
                publish.write_table(folder, table, schemas.arrow(table).empty_table())
        return np.concatenate([np.zeros(0, dtype=np.int64), *recommended]), rows, unchanged

    def _finish(self, kept: Path, users: Int32s, say: Say) -> None:
        """Scores one shard and puts it where a later run of the night finds it."""
        work = self.lake.staging / f"shard-{kept.name}"
        for folder in (work, kept):
            shutil.rmtree(folder, ignore_errors=True)
        store.make_folder(work)
        store.make_folder(kept.parent)
        recommended, rows, unchanged = self._score(work, users, say)
        np.save(work / "recommended.npy", recommended, allow_pickle=False)
        for table in _TABLES:
            (work / table.name / "part-00000.parquet").rename(work / f"{table.name}.parquet")
            (work / table.name).rmdir()
        store.seal(work, {"rows": rows, "users": len(users), "kept_users": unchanged})
        store.move_folder(work, kept)

    def _score(self, work: Path, users: Int32s, say: Say) -> tuple[Int64s, dict[str, int], int]:
        settings, data = self.config.score, self.data
        recommended, unchanged = np.zeros(len(users), dtype=np.int64), 0
        with (
            TableWriter(work, schemas.RECOMMENDATIONS) as lists,
            TableWriter(work, schemas.RECOMMENDATIONS_BUFFER) as buffer,
            behind(_BATCHES_WAITING) as write,
        ):

            def both(batch: Lists) -> None:
                lists.write(score.to_table(batch, data, last_rank=settings.k))
                buffer.write(score.to_table(batch, data, first_rank=settings.k + 1))

            for batch, kept in self._lists(users, say):
                unchanged += kept
                recommended[batch.users - users[0]] = batch.lengths(settings.k)
                write(both, batch)
                say.progress("score", int(batch.users[-1]) + 1, data.num_users)
        rows = {schemas.RECOMMENDATIONS.name: lists.rows, schemas.RECOMMENDATIONS_BUFFER.name: buffer.rows}
        return recommended, rows, unchanged

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
        batches = self.ranker.rank_all(self.data.events, users, settings.k + settings.buffer, settings.users_per_batch)
        while True:
            with say.part("ranked"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


@contextlib.contextmanager
def behind(waiting: int) -> Iterator[Callable[..., None]]:
    """Calls made one after another on a thread of their own, at most so many behind the caller.

    All of them are done when the block ends well; what one raises, the next call or the end of the block raises.
    """
    open_: deque[Future[None]] = deque()

    def call(work: Callable[..., None], *arguments: object) -> None:
        while len(open_) >= waiting:
            open_.popleft().result()
        open_.append(thread.submit(work, *arguments))

    thread = ThreadPoolExecutor(1, thread_name_prefix="write")
    try:
        yield call
        while open_:
            open_.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)
