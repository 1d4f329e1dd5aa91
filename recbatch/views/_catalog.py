"""LAKE/catalog.duckdb, the commit point: built aside, forced to disk, put in place by one rename."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import schemas, withdrawn
from recbatch.errors import StorageFailed, UsageError, from_words
from recbatch.store import FILE_MODE, MANIFEST, Lake, fsync_path, matching, read_checked_json, run_key
from recbatch.views import _surface
from recbatch.views._quoting import absolute, quote_literal
from recbatch.views._render import Renderer, Run

STORAGE_VERSION = "v1.0.0"
"""Opens in DuckDB 1.4 to 2.x; what 2.0 writes by default does not open in 1.4.

Of a catalog that 2.0 wrote, 1.4.0 and 1.4.1 lose the CTEs inside macros and subqueries; 1.4.2 and later read all.
"""

OUTCOMES = "outcomes"
"""Folder below the lake: what happened after each run."""
_SORTED_BY_USER = (schemas.RECOMMENDATIONS.name, schemas.RECOMMENDATIONS_BUFFER.name, schemas.USERS.name)


def write_catalog(lake: Lake, run_ids: Sequence[str]) -> None:
    """Replaces the catalog by one over exactly these runs; this is the commit.

    Readers with an open connection keep what they have. The content is a function of the lake's path, the run ids, the
    runs' manifests, `withdrawn.json` and the outcomes.

    Args:
        lake: its folders exist; the caller holds its lock.
        run_ids: the live runs, at least one, in any order.

    Raises:
        UsageError: no run, a run twice, or an impossible lake path.
        InputMissing: a run has no manifest.
        StorageFailed: a manifest or a Parquet file is unreadable, or the disk is full; the old catalog stays.
        OSError: the file system refuses; the old catalog stays.
    """
    if not run_ids:
        raise UsageError("a catalog needs at least one run; run `recbatch nightly` instead")
    if len(set(run_ids)) < len(run_ids):
        raise UsageError(f"a run stands twice among {', '.join(run_ids)}; name each once")
    renderer = _renderer(lake, run_ids)
    fresh = absolute(lake.staging) / "catalog.duckdb.new"
    try:
        _build(fresh, renderer)
        fresh.chmod(FILE_MODE)
        fsync_path(fresh)
        fresh.replace(lake.catalog)
    finally:
        _remove(fresh)
    fsync_path(lake.root)


def outdated(lake: Lake, run_ids: Sequence[str]) -> list[str]:
    """Names of the views and macros whose text in the catalog is not what `write_catalog` would write.

    Writes to staging only; the caller holds the lake's lock.

    Raises:
        StorageFailed: the catalog or a manifest cannot be read.
    """
    fresh = absolute(lake.staging) / "catalog.duckdb.new"
    try:
        _build(fresh, _renderer(lake, run_ids))
        with contextlib.closing(duckdb.connect(str(fresh), read_only=True)) as con:
            wanted = _texts(con)
    finally:
        _remove(fresh)
    with attached(lake) as con, reading(lake):
        present = _texts(con)
    return sorted(name for name in {*wanted, *present} if wanted.get(name) != present.get(name))


def _texts(con: duckdb.DuckDBPyConnection) -> dict[str, tuple[str, ...]]:
    """View or macro → its text and comment."""
    rows = con.execute(
        """
        select view_name, sql, comment from duckdb_views()
        where not internal and database_name = current_database()
        union all
        select function_name, macro_definition, comment from duckdb_functions()
        where not internal and database_name = current_database()
        """
    ).fetchall()
    return {name: tuple(str(word) for word in words) for name, *words in rows}


def _renderer(lake: Lake, run_ids: Sequence[str]) -> Renderer:
    root = quote_literal(absolute(lake.root))
    *older, newest = [_run(lake, run_id) for run_id in sorted(run_ids, key=run_key)]
    firsts = {name: _first_users(lake, newest, name) for name in _SORTED_BY_USER}
    return Renderer(
        [*older, replace(newest, first_users=firsts)],
        f"coalesce(getvariable('recbatch_root'), {root})",
        withdrawn=list(withdrawn.read(lake)),
        outcomes=_outcomes(lake, {str(run.head.get("supersedes")) for run in (*older, newest)}),
    )


def live_runs(lake: Lake) -> list[str]:
    """The run ids that stand in the catalog, by date and number; empty where there is no catalog yet.

    Raises:
        StorageFailed: the catalog cannot be read.
    """
    if not lake.catalog.is_file():
        return []
    with attached(lake) as con, reading(lake):
        return [run_id for (run_id,) in con.execute("select run_id from runs order by run_date, number").fetchall()]


@contextlib.contextmanager
def attached(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection of its own with the catalog attached read-only as `recbatch`, closed at the end.

    `duckdb.connect(path)` would return the old database after a replacement while anybody in this process has it open;
    an in-memory database that attaches the file does not.

    Raises:
        StorageFailed: the catalog cannot be read.
    """
    con = duckdb.connect()
    try:
        with reading(lake):
            con.execute(f"set variable recbatch_root = {quote_literal(absolute(lake.root))}")
            con.execute(f"attach {quote_literal(absolute(lake.catalog))} as recbatch (read_only)")
            con.execute("use recbatch")
        yield con
    finally:
        con.close()


@contextlib.contextmanager
def reading(lake: Lake) -> Iterator[None]:
    """Turns DuckDB's word about a damaged catalog into the operator's line."""
    try:
        yield
    except duckdb.Error as error:
        raise from_words(
            lake.catalog,
            f"cannot be read ({first_line(error)})",
            "restore it from a backup, or move it away and run `recbatch nightly`, which rebuilds it from the runs",
        ) from error


def first_line(error: Exception) -> str:
    """DuckDB's message on one line, without the echo of the query."""
    return " ".join(str(error).split("\n\nLINE ")[0].split())


def _run(lake: Lake, run_id: str) -> Run:
    manifest = read_checked_json(lake.run(run_id) / MANIFEST)
    if manifest.get("contract") != schemas.CONTRACT_VERSION:
        raise StorageFailed(
            f"{lake.run(run_id)}: layout {manifest.get('contract')}, this recbatch knows {schemas.CONTRACT_VERSION}; "
            "use the recbatch that wrote it, or `recbatch migrate`"
        )
    return Run(_surface.complete(manifest), tuple(manifest["files"]), f"/runs/{run_id}")


def _first_users(lake: Lake, run: Run, table: str) -> tuple[str, ...]:
    """The first user of each file of a table; nothing where a file does not say, or a user's rows span two files."""
    files = run.files_of(table)
    if len(files) < 2:
        return ()
    with ThreadPoolExecutor() as pool:  # Arrow parses footers beside Python: half the time on two cores
        ranges = list(pool.map(lambda path: _user_range(lake.root / path.removeprefix("/")), files))
    known = [users for users in ranges if users is not None]
    apart = all(before[1].encode() < after[0].encode() for before, after in pairwise(known))
    return tuple(first for first, _ in known) if apart and len(known) == len(ranges) else ()


def _user_range(path: Path) -> tuple[str, str] | None:
    """First and last user of a file that is sorted by user, from its footer."""
    try:
        metadata = pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise from_words(path, f"cannot be read ({error})", "check the disk and `recbatch verify`") from error
    groups = metadata.num_row_groups
    if not groups or metadata.schema.column(0).name != "user_id":
        return None
    ends = [metadata.row_group(group).column(0).statistics for group in (0, groups - 1)]
    if not all(end is not None and end.has_min_max for end in ends):
        return None
    first, last = str(ends[0].min), str(ends[1].max)
    return None if "\0" in first else (first, last)  # SQL text holds no NUL


def _outcomes(lake: Lake, superseded: set[str]) -> list[Run]:
    """The newest outcome of each run; of a run that was published again, the new one has it."""
    found = []
    for folder in (each for each in newest_outcomes(lake) if each.parent.name not in superseded):
        manifest = read_checked_json(folder / MANIFEST)
        if manifest.get("contract") == schemas.CONTRACT_VERSION:
            found.append(Run(manifest, tuple(manifest["files"]), f"/{folder.relative_to(lake.root)}"))
    return found


def newest_outcomes(lake: Lake) -> list[Path]:
    """Of each run that was judged, the folder of its newest outcome, `outcomes/<run_id>/<n>`, by run."""
    newest: dict[str, Path] = {}
    for folder in (each for run in matching(lake.root / OUTCOMES) for each in matching(run)):
        if folder.name.isdecimal() and (folder / MANIFEST).is_file():
            before = newest.get(folder.parent.name, folder)
            newest[folder.parent.name] = max(before, folder, key=lambda path: int(path.name))
    return [newest[run_id] for run_id in sorted(newest, key=run_key)]


def _build(path: Path, renderer: Renderer) -> None:
    _remove(path)
    with contextlib.closing(duckdb.connect()) as con:
        try:
            con.execute(f"attach {quote_literal(path)} as recbatch (storage_version {quote_literal(STORAGE_VERSION)})")
            con.execute("use recbatch")
            con.execute("set parquet_metadata_cache = true")  # each view and its comments look at the same footers
            _surface.create(con, renderer)
            con.execute("use memory")
            con.execute("checkpoint recbatch")
            con.execute("detach recbatch")
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException):
            raise  # a fault of ours in sql/
        except duckdb.Error as error:
            raise from_words(
                path,
                f"the catalog cannot be built ({first_line(error)})",
                "check the disk and `recbatch verify`",
            ) from error


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".wal").unlink(missing_ok=True)
