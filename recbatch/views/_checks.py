"""Invariants as queries: every file in `sql/checks`, and in a folder of the user's own, must return no rows."""

from __future__ import annotations

from pathlib import Path

import duckdb

from recbatch.contracts import AuditResult
from recbatch.errors import DataError, InputMissing
from recbatch.store import matching
from recbatch.views import _templates
from recbatch.views._catalog import first_line

SEVERITIES = ("error", "warn")
_SKIPPED = "not run"


def run_checks(con: duckdb.DuckDBPyConnection, extra: Path | None = None) -> list[AuditResult]:
    """Runs every check on a staged run.

    A check that needs what is not there is not run, passes, and says so: `seen` or `rules`, where none were given to
    `over`; earlier runs (see `compare`), where there are none. `unless: keep_seen` passes where they may be kept.

    Args:
        con: from `over`.
        extra: folder of further `*.sql` files, one SELECT each; `-- severity:` (error where absent) and
            `-- expected:` are read from their leading comments.

    Returns:
        One result per check, by name: `observed` is the number of offending rows, `detail` the first of them as JSON;
        where that row has columns `observed` and `expected`, they say it in its own words.

    Raises:
        InputMissing: `extra` is no folder.
        DataError: a file of `extra` is no single SELECT, cannot run, or has the name of a check of ours.
    """
    own = _templates.load("checks")
    theirs = {} if extra is None else _read(extra)
    for name in sorted(own.keys() & theirs.keys()):
        raise DataError(f"{extra}/{name}.sql: recbatch has a check of this name; rename the file")
    for name, file in theirs.items():
        _require_sound(con, f"{extra}/{name}.sql", file)
    results = [run_check(con, file) for file in own.values()]
    for name, file in theirs.items():
        try:
            results.append(run_check(con, file))
        except duckdb.Error as error:
            raise DataError(f"{extra}/{name}.sql: {first_line(error)}; correct the query") from error
    return sorted(results, key=lambda result: result.check)


def _read(folder: Path) -> dict[str, _templates.SqlFile]:
    if not folder.is_dir():
        raise InputMissing(f"{folder}: no such folder of checks; correct audit.extra_checks")
    try:
        return {p.stem: _templates.parse(p.stem, p.read_text("utf-8")) for p in matching(folder, "*.sql")}
    except UnicodeDecodeError as error:
        raise DataError(f"{folder}: a check is not UTF-8 text ({error}); save it as UTF-8") from error


def _require_sound(con: duckdb.DuckDBPyConnection, where: str, file: _templates.SqlFile) -> None:
    try:
        statements = con.extract_statements(file.text)
    except duckdb.Error as error:
        raise DataError(f"{where}: {first_line(error)}; correct the query") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise DataError(f"{where}: a check is one SELECT that returns the offending rows; remove the rest")
    if file.notes.get("severity", "error") not in SEVERITIES:
        raise DataError(f"{where}: severity {file.notes['severity']!r}; write `-- severity: error` or `warn`")


def run_check(con: duckdb.DuckDBPyConnection, file: _templates.SqlFile) -> AuditResult:
    """Runs one check; see `run_checks`.

    Raises:
        duckdb.Error: the query cannot run.
    """
    severity, expected = file.notes.get("severity", "error"), file.notes.get("expected", "no rows")
    reason = _why_skipped(con, file)
    if reason:
        return AuditResult(file.name, severity, True, _SKIPPED, expected, reason)
    # As a view, a file may end in a semicolon or a comment.
    con.execute(f"create or replace temp view offence as\n{file.text}")
    [(rows, first)] = con.execute("select count(*), min(to_json(offence)::varchar) from offence").fetchall()
    observed = str(rows)
    if rows and _tells(con):
        [(observed, expected)] = con.execute(
            "select observed::varchar, expected::varchar from offence order by to_json(offence)::varchar limit 1"
        ).fetchall()
        first = None if rows == 1 else f"and {rows - 1} more"
    return AuditResult(file.name, severity, rows == 0, observed, expected, first)


def _tells(con: duckdb.DuckDBPyConnection) -> bool:
    columns = {name for name, *_ in con.execute("from offence limit 0").description or ()}
    con.fetchall()
    return {"observed", "expected"} <= columns


def _why_skipped(con: duckdb.DuckDBPyConnection, file: _templates.SqlFile) -> str | None:
    needs = file.notes.get("needs", "").split()
    if not needs:
        return None
    # fetchall, not fetchone: DuckDB 2.0 refuses further work on a connection until a result is read to its end.
    [(has_seen, has_rules, keep_seen)] = con.execute(
        "select has_seen, has_rules, keep_seen from run_settings"
    ).fetchall()
    if "seen" in needs and not has_seen:
        return "no histories were given"
    if "rules" in needs and not has_rules:
        return "no rules were given"
    for need in _THERE.keys() & set(needs):
        [(amount,)] = con.execute(_THERE[need]).fetchall()
        if not amount:
            return _WITHOUT[need]
    return "seen titles are kept" if keep_seen and "keep_seen" in file.notes.get("unless", "") else None


_THERE = {
    "earlier": "select count(events) from nights where age = 1",
    "columns": "select count(*) from input_columns where age = 1",
    "parent": "select count(*) from parent_users",
    "lists": "select count(*) from list_changes where compared > 0",
    "scores": "select count(score_edges) from nights where age = 1",
}
"""What a check may say that it needs → how many there are of it."""
_WITHOUT = {
    "earlier": "no earlier run, or it kept no account of its input",
    "columns": "no earlier run, or it kept no account of its columns",
    "parent": "no earlier run",
    "lists": "no earlier run, or no user with a list in both",
    "scores": "no earlier run, or it kept no account of its scores",
}
