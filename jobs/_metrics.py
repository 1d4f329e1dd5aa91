"""The Prometheus textfile: how the last night went, and what readers see since."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from recbatch import __version__, store, views
from recbatch.contracts import Json
from recbatch.errors import RecbatchError
from recbatch.store import Lake

from ._lake import manifest_of

_LAST_SUCCESS = "recbatch_night_last_success_timestamp_seconds"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of the night, however it ended."""

    run_id: str | None
    """None where it ended before it had one."""
    started_at: datetime
    finished_at: datetime
    exit_code: int
    seconds: dict[str, float]
    """Stage → seconds."""


def write(path: Path, lake: Lake, attempt: Attempt) -> None:
    """Replaces the textfile whole, readable for everybody: node_exporter is another user.

    Figures called `recbatch_night_…` are the attempt's, those called `recbatch_published_…` the live run's, which a
    failed night leaves as they were. What is not known is left out.

    Raises:
        OSError: the file system refuses; an existing file is untouched.
    """
    registry = CollectorRegistry()
    _add_attempt(registry, path, lake, attempt)
    _add_published(registry, lake, attempt.finished_at)
    before = os.umask(0o022)
    try:
        write_to_textfile(str(path), registry)
    finally:
        os.umask(before)


def _add_attempt(registry: CollectorRegistry, path: Path, lake: Lake, attempt: Attempt) -> None:
    succeeded = attempt.finished_at.timestamp() if attempt.exit_code == 0 else last_success(path)
    _set(registry, "recbatch_night_exit_code", "Exit code of the last night.", attempt.exit_code)
    _set(
        registry,
        "recbatch_night_finished_timestamp_seconds",
        "When the last night ended, however it did.",
        attempt.finished_at.timestamp(),
    )
    if succeeded is not None:
        _set(registry, _LAST_SUCCESS, "When a night last ended with exit code 0.", succeeded)
    duration = (attempt.finished_at - attempt.started_at).total_seconds()
    _set(registry, "recbatch_night_duration_seconds", "How long the last night took.", duration)
    stages = Gauge("recbatch_night_stage_seconds", "How long a stage took.", ["stage"], registry=registry)
    for stage, seconds in attempt.seconds.items():
        stages.labels(stage).set(seconds)
    audits = _audits(lake, attempt.run_id)
    if audits is not None:
        failures = Gauge("recbatch_night_audit_failures", "Checks that did not hold.", ["severity"], registry=registry)
        for severity in ("error", "warn"):
            failures.labels(severity).set(sum(a["severity"] == severity and not a["passed"] for a in audits))


def _add_published(registry: CollectorRegistry, lake: Lake, at: datetime) -> None:
    try:
        run_id = views.live_runs(lake)[-1]
        manifest = manifest_of(lake, run_id)
        with views.connect(lake) as con:
            realised = con.execute(_REALISED).fetchall()
    except (RecbatchError, IndexError):
        return
    finished = datetime.fromisoformat(manifest["finished_at"])
    day = date.fromisoformat(manifest["run_date"])
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    info = Gauge(
        "recbatch_published_info",
        "What readers see; always 1.",
        ["run_id", "status", "engine", "model_id", "version"],
        registry=registry,
    )
    info.labels(run_id, manifest["status"], manifest["engine"], manifest["model_id"] or "", __version__).set(1)
    _set(
        registry,
        "recbatch_published_run_date_timestamp_seconds",
        "The run date readers see, 00:00 UTC.",
        midnight.timestamp(),
    )
    _set(
        registry,
        "recbatch_published_finished_timestamp_seconds",
        "When what readers see was made.",
        finished.timestamp(),
    )
    _set(
        registry,
        "recbatch_published_age_seconds",
        "Age of what readers see when this file was written.",
        (at - finished).total_seconds(),
    )
    _set(registry, "recbatch_published_users", "Known users.", manifest["users"])
    rows = Gauge("recbatch_published_rows", "Rows of a table.", ["table"], registry=registry)
    for table, amount in manifest["rows"].items():
        rows.labels(table).set(amount)
    if manifest["certificate"]:
        _set(
            registry,
            "recbatch_published_index_recall",
            "Recall@k of the index against exact search.",
            manifest["certificate"]["recall"],
        )
    if realised:
        quality = Gauge(
            "recbatch_realised_ndcg",
            "ndcg@10 of the newest run judged by the days after it.",
            ["horizon_days"],
            registry=registry,
        )
        for horizon, value in realised:
            quality.labels(horizon).set(value)


_REALISED = """
select horizon_days, value
from realised_metrics
where metric = 'ndcg' and k = 10 and segment = 'all' and source = 'all'
qualify run_date = max(run_date) over ()
order by horizon_days
"""


def last_success(path: Path) -> float | None:
    """When a night last succeeded, as the textfile of the night before says; None where it does not."""
    try:
        families = list(text_string_to_metric_families(path.read_text("utf-8")))
    except (OSError, ValueError):
        return None
    return next((family.samples[0].value for family in families if family.name == _LAST_SUCCESS), None)


def _audits(lake: Lake, run_id: str | None) -> list[Json] | None:
    for parent in (lake.runs, lake.blocked):
        try:
            if run_id:
                return list(store.read_checked_json(parent / run_id / store.MANIFEST)["audits"])
        except RecbatchError:
            continue
    return None


def _set(registry: CollectorRegistry, name: str, meaning: str, value: float) -> None:
    Gauge(name, meaning, registry=registry).set(value)
