"""Conditions on items in SQL: one boolean expression over the columns of `items`, and nothing else.

The expression is parsed before it runs: what is no constant, column, comparison, CASE, cast, lambda or pure scalar
function is refused. It then runs in an in-memory database without files, extensions or further tables.
"""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from recbatch.contracts import Bools
from recbatch.errors import ConfigError

_ALLOWED = frozenset(
    {
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "FUNCTION",
        "LAMBDA",
        "OPERATOR",
        "TYPE",
    }
)
_WORDS = {"SUBQUERY": "a subquery", "WINDOW": "a window function", "STAR": "a star", "PARAMETER": "a parameter"}
_PURE = frozenset({("scalar", "CONSISTENT"), ("scalar", "CONSISTENT_WITHIN_QUERY")})
_READS_THE_CLOCK = frozenset({"age"})
_MEMORY = "1GiB"
_EXAMPLE = "e.g. \"list_contains(genres, 'Comedy') and interactions >= 5\""


def condition(sql: str, items: pa.Table, key: str) -> Bools:
    """Which items meet a condition.

    Args:
        sql: one expression that is true, false or null, which counts as false.
        items: one row per item; every column may be named.
        key: the setting that holds the expression, for messages.

    Returns:
        Shape (items,).

    Raises:
        ConfigError: not one such expression, or it cannot be computed; names the key and the cure.
    """
    with _locked(items) as con:
        _require_condition(con, sql, items.column_names, key)
        with _saying(sql, key):
            relation = con.sql(_select(sql))
            if str(relation.types[0]) != "BOOLEAN":
                raise ConfigError(
                    f"{key}: {_short(sql)} is {relation.types[0]}, not true or false; compare it, {_EXAMPLE}"
                )
            met = relation.fetchnumpy()["met"]
    return np.asarray(np.ma.filled(met, False), dtype=np.bool_)


def require_parsed(sql: str, key: str) -> None:
    """Checks what can be checked of a condition without items: that it is one expression and does nothing else.

    Raises:
        ConfigError: it is not; as for `condition`.
    """
    with _locked(pa.table({"item_id": pa.array([], pa.string())})) as con:
        _require_condition(con, sql, None, key)


def _select(sql: str) -> str:
    # On lines of its own, so that a comment in it swallows nothing. Rows come back in the order of insertion.
    return f"select (\n{sql}\n) as met from items"


@contextlib.contextmanager
def _locked(items: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    with contextlib.closing(duckdb.connect(config={"threads": 1, "memory_limit": _MEMORY})) as con:
        con.execute("set TimeZone = 'UTC'")
        con.register("given", items)
        con.execute("create table items as from given")
        con.unregister("given")
        con.execute("set python_enable_replacements = false")
        con.execute("set enable_external_access = false")
        con.execute("set lock_configuration = true")
        yield con


@contextlib.contextmanager
def _saying(sql: str, key: str) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        said = " ".join(str(error).split("\n\nLINE ")[0].split())
        raise ConfigError(f"{key}: {_short(sql)}: {said}; correct the expression, {_EXAMPLE}") from error
    except RecursionError as error:
        raise ConfigError(f"{key}: {_short(sql)} is nested too deeply; write it shorter") from error


def _short(sql: str) -> str:
    return repr(" ".join(sql.split())[:80])


def _require_condition(con: duckdb.DuckDBPyConnection, sql: str, columns: list[str] | None, key: str) -> None:
    if "\0" in sql:
        raise ConfigError(f"{key}: {_short(sql)} holds a NUL character; remove it")
    with _saying(sql, key):
        node, frame = (_without_places(_tree(con, text)) for text in (sql, "true"))
    if node.get("error"):
        raise ConfigError(f"{key}: {_short(sql)}: {node.get('error_message')}; correct the expression, {_EXAMPLE}")
    wanted = _expressions(node)
    if wanted is None or len(wanted) != 1 or _emptied(node) != _emptied(frame):
        raise ConfigError(
            f"{key}: {_short(sql)} is more than one expression; write what stands behind WHERE, {_EXAMPLE}"
        )
    with _saying(sql, key):
        _require_pure(con, wanted[0], None if columns is None else {name.lower() for name in columns}, sql, key)


def _tree(con: duckdb.DuckDBPyConnection, sql: str) -> Any:
    [(text,)] = con.execute("select json_serialize_sql($1::varchar)", [_select(sql)]).fetchall()
    return json.loads(text)


def _without_places(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: _without_places(value) for name, value in node.items() if not name.startswith("query_location")}
    return [_without_places(value) for value in node] if isinstance(node, list) else node


def _expressions(tree: Any) -> list[Any] | None:
    statements = tree.get("statements") or []
    found = statements[0]["node"].get("select_list") if len(statements) == 1 else None
    return found if isinstance(found, list) else None


def _emptied(tree: Any) -> Any:
    """The statement around its expressions."""
    statement = tree["statements"][0]
    return statement | {"node": statement["node"] | {"select_list": []}}


def _require_pure(con: duckdb.DuckDBPyConnection, node: Any, known: set[str] | None, sql: str, key: str) -> None:
    """Refuses whatever is no pure function of one row of items."""
    if isinstance(node, list):
        for each in node:
            _require_pure(con, each, known, sql, key)
    if not isinstance(node, dict):
        return
    kind = node.get("class")
    if kind is not None and kind not in _ALLOWED:
        raise ConfigError(
            f"{key}: {_short(sql)} has {_WORDS.get(kind, kind.lower())}; only the columns of items may be asked"
        )
    if kind == "COLUMN_REF" and known is not None:
        _require_column(node["column_names"], known, sql, key)
    if kind == "FUNCTION":
        _require_scalar(con, node["function_name"].lower(), sql, key)
    if kind == "LAMBDA" and known is not None:
        known = known | {name.lower() for name in _names(node["lhs"])}
    for value in node.values():
        _require_pure(con, value, known, sql, key)


def _names(node: Any) -> list[str]:
    if isinstance(node, list):
        return [name for each in node for name in _names(each)]
    if not isinstance(node, dict):
        return []
    if node.get("class") == "COLUMN_REF":
        return [node["column_names"][-1]]
    return [name for value in node.values() for name in _names(value)]


def _require_column(path: list[str], known: set[str], sql: str, key: str) -> None:
    name = path[1] if len(path) > 1 and path[0].lower() == "items" and "items" not in known else path[0]
    if name.lower() not in known:
        near = difflib.get_close_matches(name.lower(), sorted(known), n=1, cutoff=0.5)
        hint = (
            f"did you mean {near[0]}?"
            if near
            else f"they have {', '.join(sorted(known))}; text stands in 'single quotes'"
        )
        raise ConfigError(f"{key}: {_short(sql)}: items have no column {name!r}; {hint}")


def _require_scalar(con: duckdb.DuckDBPyConnection, name: str, sql: str, key: str) -> None:
    kinds = set(
        con.execute(
            "select distinct function_type, stability from duckdb_functions() where function_name = $1", [name]
        ).fetchall()
    )
    if not kinds:
        raise ConfigError(f"{key}: {_short(sql)}: there is no function {name}; correct the expression, {_EXAMPLE}")
    # Of date functions, forms for times with a zone depend on the zone, which is set to UTC.
    if ("scalar", "CONSISTENT") not in kinds or kinds - _PURE or name in _READS_THE_CLOCK:
        raise ConfigError(f"{key}: {_short(sql)}: {name} is no pure function of an item's columns; use another")
