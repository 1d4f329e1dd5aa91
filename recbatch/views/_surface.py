"""What readers see, made in a connection: every view and macro below `sql/` with its comments."""

from __future__ import annotations

import duckdb

from recbatch import schemas
from recbatch.contracts import Json
from recbatch.views import _templates
from recbatch.views._quoting import quote_literal, quote_name
from recbatch.views._render import Renderer

_HEAD: Json = {
    "status": "published",
    "degraded_reason": None,
    "started_at": None,
    "finished_at": None,
    "model_id": None,
    "trained_before": None,
    "engine": None,
    "users": None,
    "rows": {},
    "parent": None,
    "source": None,
    "contract": schemas.CONTRACT_VERSION,
}
"""What a run that is still being staged may not know yet."""


def complete(head: Json) -> Json:
    """A manifest's head with nothing where it says nothing; `run_id`, `run_date` and `k` must be there."""
    return _HEAD | head


def create(con: duckdb.DuckDBPyConnection, renderer: Renderer) -> None:
    """Makes every view and macro in the connection's current schema, in one transaction: 0.2 s instead of 0.7.

    Args:
        con: writable; the renderer's files must be there, since a view is bound when it is made.
        renderer: knows the runs.

    Raises:
        duckdb.Error: a Parquet file is missing or unreadable.
    """
    con.execute("begin")
    try:
        _create(con, renderer)
    except duckdb.Error:
        con.execute("rollback")
        raise
    con.execute("commit")


def _create(con: duckdb.DuckDBPyConnection, renderer: Renderer) -> None:
    for name, file in _templates.load("marts").items():
        con.execute(f"create view {quote_name(name)} as\n{renderer.view(name)}")
        con.execute(f"comment on view {quote_name(name)} is {quote_literal(file.comment)}")
    _comment_columns(con)
    for name, file in _templates.load("macros").items():
        parameters = ", ".join(quote_name(word.strip()) for word in file.notes["parameters"].split(","))
        con.execute(f"create macro {quote_name(name)}({parameters}) as table\n{renderer.macro(name)}")
        con.execute(f"comment on macro table {quote_name(name)} is {quote_literal(file.comment)}")


def _comment_columns(con: duckdb.DuckDBPyConnection) -> None:
    # Columns of the tables of a run are explained in `schemas`, those of the other views in the file itself.
    tables = {table.name: table for table in (*schemas.RUN_TABLES, *schemas.OUTCOME_TABLES)}
    files = _templates.load("marts")
    for view, name in con.execute(_COLUMNS).fetchall():
        spec = tables.get(view, schemas.RECOMMENDATIONS)
        meanings = {column.name: column.comment for column in spec.columns} | files[view].notes
        if name in meanings:
            con.execute(f"comment on column {quote_name(view)}.{quote_name(name)} is {quote_literal(meanings[name])}")


_COLUMNS = """
select table_name, column_name
from duckdb_columns()
where database_name = current_database() and schema_name = current_schema() and not internal
order by table_name, column_index
"""
