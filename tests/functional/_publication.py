"""The last part of a night: write, audit, seal, promote, commit, on rows made by hand; or promote and commit alone.

A publication under a plan runs in a process of its own, a fork of a server that has imported everything and started no
thread.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import shutil
from dataclasses import dataclass
from functools import cache
from multiprocessing import reduction
from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset
from recbatch.jobs import _codes, _lake

from recbatch import jobs, lookup, publish, schemas, store, views  # noqa: F401 - `jobs` comes first: no cycle
from recbatch.store import Lake
from recbatch.views import _render, _templates
from tests.unit import _lake_fixture as rows_of

from . import _syscalls
from ._syscalls import Call, Plan

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__])
for _kind in ("staging", "marts", "macros"):
    for _name in _templates.load(_kind):
        _render._template(_kind, _name)  # compiled once, not in every fork
RUNS = ("2026-03-01.1", "2026-03-02.1", "2026-03-03.1")


@cache
def _content(number: int) -> dict[str, pa.Table]:
    """The tables of a sound run; odd and even nights differ."""
    found = {}
    source = rows_of.second_night() if number % 2 else rows_of.tables()
    for table in schemas.RUN_TABLES:
        schema = pa.schema([field.with_nullable(True) for field in schemas.arrow(table)])
        if table.name in rows_of.EXTRA:
            schema = schema.append(rows_of.EXTRA[table.name])
        columns = list(zip(*source[table.name], strict=True)) or [()] * len(schema)
        found[table.name] = pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
    return found


def publish_night(lake: Lake, run_id: str, tables: dict[str, pa.Table]) -> None:
    """What `jobs._night.night` does once everybody is scored."""
    with store.locked(lake):
        try:
            live = _lake.repair(lake)
            if run_id in live:
                return
            folder = publish.stage(lake, run_id)
            rows = {table.name: publish.write_table(folder, table, tables[table.name]) for table in schemas.RUN_TABLES}
            head = rows_of.head(run_id, rows=rows)
            with views.over(folder, head, seen=rows_of.SEEN) as con:
                views.query(con, "select count(*) from recommendations")
            lookup.write(folder, rows_of.K)
            store.seal(folder, head)
            publish.promote(lake, folder)
            _lake.commit(lake, [*live, run_id])
        finally:
            store.empty_folder(lake.staging)


def publish_prepared(lake: Lake, run_id: str, prepared: Path) -> None:
    """Publication alone, of a run that was written, audited and sealed elsewhere."""
    with store.locked(lake):
        try:
            live = _lake.repair(lake)
            if run_id in live:
                return
            shutil.copytree(prepared, lake.staging / run_id, copy_function=os.link)
            publish.promote(lake, lake.staging / run_id)
            _lake.commit(lake, [*live, run_id])
        finally:
            store.empty_folder(lake.staging)


@dataclass(frozen=True)
class Trial:
    """How one publication ended."""

    code: int
    """Exit code; -9 where it was killed."""
    line: str
    calls: list[Call]


def attempt(
    root: Path, run_id: str, plan: Plan | None = None, limit: int | None = None, prepared: Path | None = None
) -> Trial:
    """Publishes once.

    Under a plan or a limit that happens in a process of its own, whose calls are seen; no file there may grow beyond
    `limit` bytes. Where a run is `prepared`, only its publication is left to do.
    """
    if plan is None and limit is None:
        return Trial(*_ending(root, run_id, prepared), [])
    ours, theirs = SERVER.Pipe()
    job = SERVER.Process(target=_child, args=(theirs, root, run_id, limit, prepared))
    job.start()
    theirs.close()
    listener = reduction.recv_handle(ours)
    try:
        calls = _syscalls.watch(listener, root, plan or Plan())
    finally:
        os.close(listener)
    try:
        code, line = ours.recv()
    except EOFError:
        code, line = -9, ""
    ours.close()
    job.join()
    return Trial(code, line, calls)


def _child(conn, root: Path, run_id: str, limit: int | None, prepared: Path | None) -> None:
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    listener = _syscalls.be_watched()
    reduction.send_handle(conn, listener, None)
    os.close(listener)
    conn.send(_ending(root, run_id, prepared))


def _ending(root: Path, run_id: str, prepared: Path | None) -> tuple[int, str]:
    """Exit code and the operator's line."""
    try:
        if prepared:
            publish_prepared(Lake(root), run_id, prepared)
        else:
            publish_night(Lake(root), run_id, _content(RUNS.index(run_id)))
    except BaseException as error:
        return _codes.ending(error)
    return 0, ""


def state(root: Path) -> dict[str, str]:
    """Path → sha256 of everything in the lake but the lock."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "_lock"
    }
