"""Audit, report and publication of a staged run: what a night ends with, and a stopped run that is audited again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from recbatch import lookup, publish, report, schemas, store, views
from recbatch.config import Config
from recbatch.contracts import AuditResult, Json
from recbatch.store import Lake

from . import _lake, _memory, _run
from ._changes import since_parent
from ._earlier import earlier
from ._later import meanwhile
from ._run import Night, Verdict
from ._say import Say
from .report import past_nights


@dataclass(frozen=True, slots=True)
class Beside:
    """What the checks hold lists against; made when it is needed, since it may be large."""

    seen: Callable[[], pa.Table | None]
    """As `views.over` takes it."""
    rules: Callable[[], dict[str, pa.Table]]
    """As `views.over` takes it."""


def audit(
    lake: Lake,
    live: list[str],
    folder: Path,
    head: Json,
    beside: Beside,
    config: Config,
    measured: tuple[AuditResult, ...],
    allow_degraded: str | None,
) -> tuple[Json, Verdict]:
    """Runs every check on a staged run through the views that readers will have, and writes the table `audits`.

    Beside that, since checks leave a core idle here and there, `lookup.arrow` is written; a blocked run keeps none.

    Args:
        lake: holds the runs that this one is compared with.
        live: run ids, oldest first.
        folder: the staged tables.
        head: what the manifest says so far.
        beside: histories and rules that lists must obey.
        config: thresholds and the folder of further checks.
        measured: the outcomes of the gate and of the certificates.
        allow_degraded: the operator's reason, if any.

    Returns:
        The head with `profile` and `changes`, and the verdict.

    Raises:
        RecbatchError: see `views.run_checks` and `lookup.write`.
    """
    seen, rules = beside.seen(), beside.rules()
    memory, k = _memory.left(head["users"], config), head["k"]
    with (
        meanwhile(lambda: lookup.write(folder, k)) as looked_up,
        views.over(folder, head, seen=seen, rules=rules, memory_bytes=memory) as con,
    ):
        changes = since_parent(lake, con, head)
        head = head | {"profile": views.profile(con), "changes": changes}
        views.compare(con, head, earlier(lake, live, head, changes, config), config.audit)
        results = [*views.run_checks(con, config.audit.folder), *measured]
    publish.write_table(folder, schemas.AUDITS, publish.audits_table(results))
    verdict = Verdict(head["run_id"], tuple(results), allow_degraded)
    if verdict.blocked:  # what is wrong with the tables may have stopped it halfway
        (folder / lookup.FILE).unlink(missing_ok=True)
    else:
        looked_up()
    return head, verdict


def close(
    lake: Lake, live: list[str], folder: Path, head: Json, verdict: Verdict, rows: dict[str, int], say: Say
) -> Night:
    """Writes the report, seals the run, and publishes it or keeps it for inspection.

    Args:
        lake: where to.
        live: run ids, oldest first.
        folder: the staged run.
        head: of its manifest.
        verdict: over it.
        rows: of each table.
        say: hears of stages.

    Raises:
        AuditFailed: a check failed.
        GateFailed: the model was too weak.
    """
    say.stage("report")
    head = _run.finished(head, verdict, rows, say)
    with views.over(folder, head) as con:
        report.write(folder, con, head, past_nights(lake, live, head["run_id"]))
    store.seal(folder, head)

    say.stage("publish")
    if verdict.blocked:
        verdict.stop(publish.block(lake, folder))
    publish.promote(lake, folder)
    _lake.forget_progress(lake)  # from here on a start after a kill puts the run into the catalog: nothing is resumed
    _lake.commit(lake, [*live, head["run_id"]])
    publish.unblock(lake)
    return Night(head)
