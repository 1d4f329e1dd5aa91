"""`duckdb:FILE`: tables or views of a DuckDB database, which is how a warehouse is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa

from recbatch.contracts import InputFile, Progress
from recbatch.errors import DataError, InputMissing, StorageFailed
from recbatch.sources.events import COLUMNS
from recbatch.sources.parts import Part, RawTables, describe_file

_NAMES = ("interactions", "items", "users")
_OPTIONAL = frozenset({"users"})


def read_duckdb(file: Path, progress: Progress) -> RawTables:
    """Reads the tables of a database, which is opened read-only.

    Args:
        file: holds tables or views `interactions`, `items` and optionally `users` in its default schema.
        progress: called with the tables read.

    Returns:
        The tables, each as one part named `FILE:TABLE`; row numbers are those of `select * from TABLE`. The account of
        inputs lists the file, and the write-ahead log beside it where there is one, with the rows of all tables.

    Raises:
        InputMissing: the file, `interactions` or `items` is not there.
        DataError: no DuckDB database, or a view cannot be run.
        StorageFailed: another process has it open for writing.
    """
    if not file.is_file():
        raise InputMissing(f"{file}: no such file; name a DuckDB database in duckdb:FILE")
    parts: dict[str, tuple[Part, ...]] = {}
    with _opened(file) as con:
        have = {name for (name,) in con.execute(_TABLES).fetchall()}
        for done, name in enumerate(_NAMES):
            if name in have:
                parts[name] = (Part(f"{file}:{name}", _table(con, file, name)),)
            elif name not in _OPTIONAL:
                raise InputMissing(
                    f"{file}: no table or view {name}; it has {', '.join(sorted(have)) or 'none'}:"
                    f" add one, e.g. create view {name} as select … from …"
                )
            progress("read", done + 1, len(_NAMES))
    rows = sum(part.table.num_rows for pieces in parts.values() for part in pieces)
    return RawTables(
        parts["interactions"], parts["items"], parts.get("users", ()), _inputs(file, rows), merge_by_title=False
    )


_TABLES = """
select table_name from information_schema.tables
where table_catalog = current_database() and table_schema = current_schema()
"""


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    try:
        # One thread: the order of a view with a join, and with it every row number, is then the same every time.
        con = duckdb.connect(str(file), read_only=True, config={"threads": 1, "autoinstall_known_extensions": False})
    except duckdb.IOException as error:
        if "lock" in str(error):
            raise StorageFailed(
                f"{file}: another process has it open for writing; close that, or read a copy of the file"
            ) from error
        raise DataError(f"{file}: not a DuckDB database that can be read ({_line(error)}); check the path") from error
    except duckdb.Error as error:
        raise DataError(f"{file}: not a DuckDB database that can be read ({_line(error)}); check the path") from error
    with contextlib.closing(con):
        con.execute("set TimeZone = 'UTC'")
        yield con


def _table(con: duckdb.DuckDBPyConnection, file: Path, name: str) -> pa.Table:
    try:
        columns = [column for column, *_ in con.execute(f"describe {name}").fetchall()]
        if name == "interactions" and "occurred_at" in columns:  # without it, another column may be the time
            columns = [column for column in columns if column in COLUMNS]
        chosen = ", ".join(f'"{column.replace(chr(34), chr(34) * 2)}"' for column in columns)
        table: pa.Table = con.sql(f"select {chosen} from {name}").to_arrow_table()
    except duckdb.Error as error:
        raise DataError(f"{file}: {name} cannot be read ({_line(error)}); correct the view or the file") from error
    return table.combine_chunks()


def _inputs(file: Path, rows: int) -> tuple[InputFile, ...]:
    log = file.with_name(f"{file.name}.wal")
    return (describe_file(file, rows), *((describe_file(log, 0),) if log.is_file() else ()))


def _line(error: duckdb.Error) -> str:
    return str(error).splitlines()[0]
