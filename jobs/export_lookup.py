"""`recbatch export-lookup`: the live lists as one SQLite or DuckDB file for another store's sake."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import click
import duckdb

from recbatch import store, views
from recbatch.errors import CannotCreate, StorageFailed
from recbatch.store import Lake

from ._options import json_option, lake_option, print_json

_TABLES = {
    "recommendations": ("user_id", "rank", "item_id", "title", "score", "source", "because_item_id"),
    "popular": ("segment", "rank", "item_id", "title", "score"),
    "users": ("user_id", "status", "recommended"),
    "run": ("run_id", "run_date", "k"),
}
"""Table → columns; its key is the first two of them, of users and run the first."""
_TYPES = {"rank": "integer", "recommended": "integer", "k": "integer", "score": "real"}
_RUN = "select run_id, run_date::varchar as run_date, k from runs where is_latest"
_ROWS_PER_INSERT = 50_000


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--to", "kind", type=click.Choice(["sqlite", "duckdb"]), required=True, help="What FILE becomes.")
@lake_option
@json_option
def export_lookup(file: Path, kind: str, lake: Lake, as_json: bool) -> None:
    """Write the live lists, the popular titles and the known users into FILE, with keys to look users up by.

    FILE appears whole: an existing one is replaced when the new one is on the disk.

    \b
    recbatch export-lookup --to sqlite recommendations.sqlite
    recbatch export-lookup --to duckdb recommendations.duckdb
    """
    if not file.absolute().parent.is_dir():
        raise CannotCreate(f"{file}: its folder does not exist; create it first")
    fresh = file.with_name(f".{file.name}.new")
    fresh.unlink(missing_ok=True)
    try:
        with views.connect(lake) as con:
            counts = _WRITERS[kind](con, fresh)
        store.fsync_path(fresh)
        fresh.replace(file)
    except (sqlite3.Error, duckdb.Error) as error:
        raise StorageFailed(f"{file}: cannot be written ({error}); check the disk, then run again") from error
    finally:
        fresh.unlink(missing_ok=True)
        fresh.with_name(f"{fresh.name}.wal").unlink(missing_ok=True)
    store.fsync_path(file.absolute().parent)
    if as_json:
        print_json({"file": str(file), **counts})
    else:
        click.echo(f"{file}: {counts['recommendations']:,} rows of {counts['users']:,} users")


def _select(table: str) -> str:
    return _RUN if table == "run" else f"select {', '.join(_TABLES[table])} from {table}"


def _keys(table: str) -> str:
    return ", ".join(_TABLES[table][: 1 if table in ("users", "run") else 2])


def _create(table: str) -> str:
    columns = ", ".join(f"{name} {_TYPES.get(name, 'text')}" for name in _TABLES[table])
    return f"create table {table} ({columns}, primary key ({_keys(table)}))"


def _to_sqlite(con: duckdb.DuckDBPyConnection, path: Path) -> dict[str, int]:
    counts = {}
    with closing(sqlite3.connect(path)) as target:
        target.execute("pragma journal_mode = off")  # nobody reads the file before it is whole
        for table, names in _TABLES.items():
            target.execute(f"{_create(table)} without rowid")
            insert = f"insert into {table} values ({', '.join('?' * len(names))})"
            con.execute(_select(table))
            counts[table] = 0
            while rows := con.fetchmany(_ROWS_PER_INSERT):
                target.executemany(insert, rows)
                counts[table] += len(rows)
        target.commit()
    return counts


def _to_duckdb(con: duckdb.DuckDBPyConnection, path: Path) -> dict[str, int]:
    counts = {}
    with closing(duckdb.connect()) as target:
        target.execute(f"attach {views.quote_literal(path)} as out (storage_version 'v1.0.0')")
        target.execute("use out")
        for table in _TABLES:
            rows = con.sql(_select(table)).to_arrow_reader(_ROWS_PER_INSERT)
            target.register("rows", rows)
            target.execute(f"create table {table} as from rows")
            target.unregister("rows")
            target.execute(f"create index {table}_by_key on {table} ({_TABLES[table][0]})")
            [(counts[table],)] = target.execute(f"select count(*) from {table}").fetchall()
        target.execute("use memory")
        target.execute("checkpoint out")
        target.execute("detach out")
    return counts


_WRITERS: dict[str, Callable[[duckdb.DuckDBPyConnection, Path], dict[str, int]]] = {
    "sqlite": _to_sqlite,
    "duckdb": _to_duckdb,
}
