"""From a file below `sql/` to one self-contained select over explicit Parquet files.

A macro that names a view fails where the catalog is attached under another name, so `ref` expands what it names in
place, and nothing is left in a view or macro but files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jinja2

from recbatch import schemas
from recbatch.contracts import Json
from recbatch.store import run_key
from recbatch.views import _templates
from recbatch.views._quoting import SQL_TYPES, quote_literal, quote_name

_TABLES = {table.name: table for table in (*schemas.RUN_TABLES, *schemas.OUTCOME_TABLES)}


@dataclass(frozen=True, slots=True)
class Run:
    """A run as the views see it: the head of its manifest, and its files as paths below its folder."""

    head: Json
    files: tuple[str, ...]
    folder: str
    """Where those stand below the root: `/runs/<run_id>`, or nothing."""
    first_users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Table sorted by user → the first user of each of its files, in path order, where known."""

    @property
    def run_id(self) -> str:
        """YYYY-MM-DD.N."""
        return str(self.head["run_id"])

    @property
    def number(self) -> int:
        """N of the run id."""
        return run_key(self.run_id)[1]

    def files_of(self, table: str) -> list[str]:
        """Paths below the root of one table's Parquet files, in path order, which is row order."""
        return [
            f"{self.folder}/{name}"
            for name in sorted(self.files)
            if name.startswith(f"{table}/") and name.endswith(".parquet")
        ]


class Renderer:
    """Renders the files below `sql/` for a set of live runs."""

    def __init__(
        self, runs: Sequence[Run], root: str, *, withdrawn: Sequence[str] = (), outcomes: Sequence[Run] = ()
    ) -> None:
        """Orders the runs.

        Args:
            runs: the live runs, at least one; any order.
            root: a SQL expression for the absolute folder that the runs' files stand in.
            withdrawn: ids of items that no view may show.
            outcomes: what happened after runs, live or not.
        """
        self._root = root
        self._withdrawn = frozenset(withdrawn)
        self._outcomes = sorted(outcomes, key=lambda run: run_key(run.run_id))
        self._runs = sorted(runs, key=lambda run: run_key(run.run_id))
        by_date = {run_key(run.run_id)[0]: run for run in self._runs}
        self._counting = list(by_date.values())

    @property
    def live(self) -> Run:
        """The run that readers see: the largest (run date, number)."""
        return self._runs[-1]

    def view(self, name: str) -> str:
        """The select of a mart."""
        return self._render("marts", name)

    def macro(self, name: str) -> str:
        """The select of a macro; parameters stand in it by name."""
        return self._render("macros", name)

    def withdrawn(self, run: Run) -> list[str]:
        """Ids of items that must be left out of a run's rows; those that its night left out already need not be."""
        return sorted(self._withdrawn.difference(run.head.get("withdrawn", ())))

    def _globals(self) -> dict[str, Any]:
        return {
            "ref": self._ref,
            "parquet": self._parquet,
            "withdrawn": self.withdrawn,
            "outcomes": self._outcomes,
            "columns": _columns,
            "runs": self._runs,
            "counting": self._counting,
            "live": self.live,
        }

    def _render(self, kind: str, name: str, **values: object) -> str:
        return _template(kind, name).render(self._globals() | values)

    def _ref(self, name: str, **values: object) -> str:
        return "(\n" + self._render("staging", name, **values) + "\n)"

    def _parquet(self, table: str, run: Run | None = None, of_user: str | None = None) -> str:
        """The rows of a table; `of_user`, SQL for an id: those of the one file that may hold this user."""
        run = run or self.live
        files = run.files_of(table)
        if not files:
            nulls = ", ".join(f"null as {quote_name(name)}" for name in _TABLES[table].column_names)
            return f"(select {nulls} where false)"
        firsts = run.first_users.get(table, ())
        if of_user and len(files) > 1 and len(firsts) == len(files):
            # Users ascend from file to file: the user can only stand in the last file that begins at or before them.
            place = f"greatest(1, len(list_filter([{_literals(firsts)}], lambda first: first <= {of_user})))"
            path = f"{self._root} || [{_literals(files)}][{place}]"
            return f"read_parquet({path}, hive_partitioning = false)"
        paths = ", ".join(f"{self._root} || {quote_literal(path)}" for path in files)
        # Without the option, a lake below a folder such as `env=prod` grows a column `env`.
        return f"read_parquet([{paths}], hive_partitioning = false)"


def list_changes(rows: str, before: str, after: str) -> str:
    """The select behind `diff_runs` over a table of rows: how each user's list changed.

    Args:
        rows: SQL for a table with user_id, rank, item_id, title and run_id.
        before: a run_id in it.
        after: another.
    """
    values = {"rows": rows, "before": quote_literal(before), "after": quote_literal(after)}
    return _template("staging", "int_list_changes").render(values)


@cache
def _template(kind: str, name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - SQL, not HTML: every value passes the filter `literal`
    )
    environment.filters |= {"literal": quote_literal, "literals": _literals, "json": _json}
    return environment.from_string(_templates.load(kind)[name].text)


def _literals(values: Sequence[object]) -> str:
    return ", ".join(quote_literal(value) for value in values)


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def _columns(table: str, *, extra: bool = True) -> str:
    """The columns of a table in the order and types of `schemas`; `extra`: and whatever else passes through."""
    spec = _TABLES[table]
    named = [f"{quote_name(c.name)}::{SQL_TYPES[c.type]} as {quote_name(c.name)}" for c in spec.columns]
    if extra and spec.extra_columns:
        named.append(f"* exclude ({', '.join(quote_name(name) for name in spec.column_names)})")
    return ",\n    ".join(named)
