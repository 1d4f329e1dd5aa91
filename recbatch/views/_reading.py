"""How readers get in: a connection that can do nothing but read the lake, and one SELECT at a time."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from recbatch.contracts import Json
from recbatch.errors import UsageError, from_words
from recbatch.store import Lake, below
from recbatch.views import _surface
from recbatch.views._catalog import attached, first_line, reading
from recbatch.views._earlier import compare
from recbatch.views._quoting import absolute, quote_literal
from recbatch.views._render import Renderer, Run

if TYPE_CHECKING:
    import pyarrow as pa

RULES = {
    "denied": {"user_id": "varchar", "item_id": "varchar"},
    "ineligible": {"item_id": "varchar"},
    "limits": {"item_id": "varchar", "value": "varchar", "at_most": "integer"},
    "pins": {"place": "bigint", "item_id": "varchar", "segment": "integer"},
    "pinned_for": {"segment": "integer", "user_id": "varchar"},
}
"""Views for checks over rules: pairs that must not be, titles that must not be, values of each title and how many
titles of one value a list may hold, titles that come first in their order, and the users of each segment of these."""
_EXPLAIN = re.compile(r"\s*explain\b(?:\s+analyze\b|\s*\(\s*(?:analyze|format)\b[^()]*\))?", re.IGNORECASE)


@contextlib.contextmanager
def connect(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """A hardened read-only connection in which the catalog's views and macros stand by their bare names.

    It reads files below the lake and nothing else, loads no extension, keeps its settings, and shows what was live when
    it was opened. A lake that was moved reads as well.

    Raises:
        InputMissing: nothing is published here yet.
        StorageFailed: the catalog is damaged.
    """
    lake.require()
    with attached(lake) as con:
        with reading(lake):
            _harden(con, absolute(lake.root), Path(f"{absolute(lake.catalog)}.tmp"))
            con.execute("set lock_configuration = true")
        yield con


@contextlib.contextmanager
def over(
    folder: Path,
    head: Json,
    *,
    seen: pa.Table | None = None,
    rules: Mapping[str, pa.Table] | None = None,
    memory_bytes: int | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory connection with the readers' views and macros over one staged run.

    Besides them stand `run_settings` (one row: run_id, run_date, k, keep_seen, has_seen, has_rules, status), `seen`
    (user_id, item_id, barred; by number: `seen_rows`, with `seen_users` and `seen_items`) and what `RULES` lists, each
    empty where none is given, and what `compare` lays beside a first run.

    Args:
        folder: `<table>/….parquet`, sealed or not; a table without files is an empty table.
        head: what the manifest says or will say; `run_id`, `run_date` and `k` at least, `keep_seen` false where absent.
        seen: the histories, a title once or more; columns user_id and item_id, strings or dictionaries of such, and
            optionally barred: whether recommendations must avoid the title, true where the column is missing.
        rules: what recommendations must obey besides, by name, see `RULES`; none: nobody knows.
        memory_bytes: DuckDB's budget; beyond it, it spills to `<folder>.spill`, which is gone at the end.

    Raises:
        StorageFailed: a Parquet file is unreadable.
    """
    root = absolute(folder)
    names = tuple(str(path.relative_to(folder)) for path in below(folder) if path.suffix == ".parquet")
    with contextlib.closing(duckdb.connect()) as con:
        _harden(con, root, root.with_name(f"{root.name}.spill"))
        if memory_bytes is not None:
            con.execute(f"set memory_limit = {quote_literal(f'{memory_bytes}B')}")
        try:
            _surface.create(con, Renderer([Run(_surface.complete(head), names, "")], quote_literal(root)))
        except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException):
            raise  # a fault of ours in sql/
        except duckdb.Error as error:
            raise from_words(folder, f"cannot be read ({first_line(error)})", "run the night again") from error
        _add_settings(con, head, seen, rules)
        compare(con, head)
        yield con


def query(con: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
    """The answer to one SELECT or EXPLAIN.

    Args:
        con: from `connect` or `over`.
        sql: one statement; DESCRIBE, SHOW, SUMMARIZE, VALUES and FROM-first queries are SELECTs to DuckDB.
        parameters: values of `?` or `$1`.

    Returns:
        The rows, as an Arrow table.

    Raises:
        UsageError: not exactly one such statement, or DuckDB cannot run it.
        StorageFailed: a file behind a view is missing or damaged.
    """
    try:
        _require_one_select(con, sql)
        relation = con.sql(sql, params=list(parameters)) if parameters else con.sql(sql)
        return relation.to_arrow_table()
    except duckdb.IOException as error:
        raise from_words("a file of the lake", first_line(error), "run `recbatch verify`") from error
    except duckdb.Error as error:
        raise UsageError(f"{first_line(error)}; `recbatch sql 'show tables'` lists the views") from error


def _require_one_select(con: duckdb.DuckDBPyConnection, sql: str) -> None:
    statements = con.extract_statements(sql)
    if len(statements) == 1 and statements[0].type == duckdb.StatementType.EXPLAIN:
        # EXPLAIN ANALYZE runs what it explains, COPY … TO included, so what it explains must be a SELECT as well.
        prefix = _EXPLAIN.match(sql)
        statements = con.extract_statements(sql[prefix.end() :]) if prefix else []
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise UsageError("only one SELECT or EXPLAIN SELECT at a time is run here; send statements one by one")


def _harden(con: duckdb.DuckDBPyConnection, root: Path, spill: Path) -> None:
    # In this order: the folders cannot be named once external access is off.
    con.execute(f"set temp_directory = {quote_literal(spill)}")
    con.execute("set python_enable_replacements = false")
    con.execute("set parquet_metadata_cache = true")
    con.execute(f"set allowed_directories = [{quote_literal(root)}]")
    con.execute("set enable_external_access = false")


def _add_settings(
    con: duckdb.DuckDBPyConnection, head: Json, seen: pa.Table | None, rules: Mapping[str, pa.Table] | None
) -> None:
    values: Iterable[tuple[str, object, str]] = (
        ("run_id", head["run_id"], "varchar"),
        ("run_date", head["run_date"], "date"),
        ("k", head["k"], "integer"),
        ("keep_seen", bool(head.get("keep_seen", False)), "boolean"),
        ("has_seen", seen is not None, "boolean"),
        ("has_rules", rules is not None, "boolean"),
        ("status", head.get("status", "published"), "varchar"),
    )
    columns = ", ".join(f"{quote_literal(value)}::{kind} as {name}" for name, value, kind in values)
    con.execute(f"create view run_settings as select {columns}")
    from recbatch.views import _seen  # the commands that only read need none of it

    tables = dict(rules or {}) | ({} if seen is None else _seen.numbered(seen))
    for name, types in (RULES | _seen.VIEWS).items():
        given = tables.get(name)
        rows = f"(select {', '.join(f'null as {column}' for column in types)} where false)"
        if given is not None:
            con.register(f"given_{name}", given)
            rows = f"given_{name}"
        columns = ", ".join(f"{column}::{kind} as {column}" for column, kind in types.items())
        con.execute(f"create view {name} as select {columns} from {rows}")
