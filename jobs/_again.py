"""A blocked date that is run again: what was staged is audited again, without training and scoring.

It stays what it was where input and settings are the same, `[audit]` aside: a threshold was set, a check of the user's
own was put right, or the operator allows what failed.
"""

from __future__ import annotations

from collections.abc import Iterable

from recbatch import __version__, publish, store
from recbatch import config as settings
from recbatch.config import Config
from recbatch.contracts import AuditResult, Dataset, Json
from recbatch.errors import InputMissing, StorageFailed
from recbatch.store import Lake

from . import _audit
from ._lake import RESULT_SECTIONS
from ._run import Night
from ._say import Say

_STAGED_ANEW = ("audits", "report.html", "lookup.arrow")


def stopped(
    lake: Lake, data: Dataset, config: Config, parent: Json | None, gone: Iterable[str], rule_files: object
) -> Json | None:
    """Manifest of the newest blocked run of the date, if a night now would stage the same.

    None where the gate stopped it: only a better model helps, or lists by popularity.
    """
    found = [path for path in publish.run_folders(lake.blocked) if store.run_key(path.name)[0] == data.run_date]
    try:
        head = store.unseal(found[-1]) if found else None
    except (InputMissing, StorageFailed):
        return None
    if head is None or "measured" not in head:
        return None
    now = config.model_dump(mode="json")
    sections = [name for name in RESULT_SECTIONS if name != "audit"]
    same = (
        head["fingerprint"] == data.fingerprint
        and head["recbatch"] == __version__
        and head["parent"] == (parent["run_id"] if parent else None)
        and head["withdrawn"] == list(gone)
        and head["rule_files"] == rule_files
        and all(head["config"].get(name) == now[name] for name in sections)
    )
    failed = [audit for audit in head["measured"] if audit["severity"] == "error" and not audit["passed"]]
    return head if same and not failed else None


def audit_again(
    lake: Lake,
    live: list[str],
    head: Json,
    beside: _audit.Beside,
    config: Config,
    parent: Json | None,
    say: Say,
    allow_degraded: str | None,
) -> Night:
    """Audits a blocked run again and publishes it under its own id if it passes.

    Raises:
        AuditFailed: a check failed again; the run in `blocked/` is replaced by one that says so.
    """
    run_id = say.run_id = head["run_id"]
    say.stage("audit")
    say.event("again", reason="this date was blocked with the same input and settings; nothing is scored again")
    blocked, folder = lake.blocked / run_id, publish.stage(lake, run_id)
    for name in head["files"]:
        if name.split("/", 1)[0] not in _STAGED_ANEW:
            store.make_folder((folder / name).parent)
            store.link(blocked / name, folder / name)
    measured = tuple(AuditResult(**audit) for audit in head["measured"])
    head = {key: value for key, value in head.items() if key not in ("files", "checksum")}
    head["config"] = config.model_dump(mode="json", exclude={"ops"})
    head["config_diff"] = settings.changes(parent["config"], head["config"]) if parent else {}
    head, verdict = _audit.audit(lake, live, folder, head, beside, config, measured, allow_degraded)
    return _audit.close(lake, live, folder, head, verdict, head["rows"], say)
