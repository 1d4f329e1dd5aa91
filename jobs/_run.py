"""Writing a run: its tables, its manifest, and the verdict over it."""

from __future__ import annotations

import os
import platform
import resource
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa

from recbatch import __version__, evaluate, publish, schemas, score
from recbatch import config as settings
from recbatch.config import Config
from recbatch.contracts import AuditResult, Dataset, Int64s, Json, SourceTables
from recbatch.errors import AuditFailed, GateFailed
from recbatch.evaluate import Outcome
from recbatch.publish import TableWriter
from recbatch.rules import NONE, Rules

from . import _similar
from ._earlier import account
from ._lake import Done
from ._later import meanwhile
from ._model import Model
from ._parent import versions
from ._plan import Plan
from ._price import Price, price_table
from ._rules import pairs_table
from ._say import Say, now


def write_tables(
    folder: Path,
    plan: Plan,
    model: Model,
    outcome: Outcome,
    data: Dataset,
    tables: SourceTables,
    recommended: Int64s,
    config: Config,
    prices: list[Price],
) -> dict[str, int]:
    """Writes every other table; returns the rows of each."""
    catalogue = plan.ranker.catalogue
    reasons = score.shortfall_reasons(plan.ranker, data, recommended, config.score.k)  # on all cores, as is the search

    def others() -> dict[str, int]:
        if catalogue is None:
            known, in_vocabulary = np.zeros(data.num_users, dtype=np.int64), np.zeros(data.num_items, dtype=np.bool_)
        else:
            known, in_vocabulary = catalogue.histories(data.events).counts, catalogue.row_of_item >= 0
        trained_before = int(np.datetime64(model.head["trained_before"], "us").astype(np.int64))
        caps, least = plan.ranker.rules.caps, config.score.k + config.score.buffer
        length = max(config.popular.length, least) if caps is None else least
        contents = {
            schemas.POPULAR: score.popular_table(plan.popular, data, length, caps),
            schemas.USERS: score.user_table(
                data,
                known=known,
                trained_before=trained_before,
                recommended=recommended,
                k=config.score.k,
                reasons=reasons,
            ),
            schemas.ITEMS: score.item_table(data, in_vocabulary),
            schemas.HOLDOUT: outcome.holdout,
            schemas.METRICS: evaluate.metrics_table(outcome.metrics),
            schemas.QUARANTINE: tables.quarantine,
            schemas.RULES: price_table(prices),
        }
        rows = {table.name: publish.write_table(folder, table, content) for table, content in contents.items()}
        return rows | {schemas.HISTORIES.name: _write_histories(folder, data, config)}

    with meanwhile(others) as written:
        rows = _similar.write(folder, plan.neighbours, catalogue, data, config)
        return {schemas.SIMILAR_ITEMS.name: rows} | written()


def _write_histories(folder: Path, data: Dataset, config: Config) -> int:
    with TableWriter(folder, schemas.HISTORIES) as writer:
        for start in range(0, data.num_users, config.score.users_per_shard):
            shard = slice(start, start + config.score.users_per_shard)
            writer.write(score.history_table(data, shard, config.score.history))
            writer.next_file()
    return writer.rows


def seen(data: Dataset, config: Config, rules: Rules = NONE) -> pa.Table | None:
    """(user_id, item_id, barred) of every event, for the checks; none if seen titles may be recommended.

    Barred is what was not seen before `rules.seen_since` only.
    """
    if config.score.keep_seen:
        return None
    pairs = pairs_table(data.events.users_of_events(), data.events.items, data)
    return pairs.append_column("barred", pa.array(rules.makes_seen(data.events)))


def head(
    run_id: str,
    config: Config,
    data: Dataset,
    tables: SourceTables,
    model: Model,
    outcome: Outcome,
    plan: Plan,
    parent: Json | None,
) -> Json:
    """What the manifest says of a run's origin and of what was measured, before its audits."""
    certificate = plan.certificate
    nearest = plan.neighbours.certificate if plan.neighbours else None
    parts = model.held_out
    chosen = config.model_dump(mode="json", exclude={"ops"})
    return {
        "contract": schemas.CONTRACT_VERSION,
        "recbatch": __version__,
        "run_id": run_id,
        "run_date": data.run_date.isoformat(),
        "parent": parent["run_id"] if parent else None,
        "source": config.source.uri,
        "inputs": [asdict(file) for file in tables.inputs],
        "input": account(tables, data),
        "fingerprint": data.fingerprint,
        "config": chosen,
        "config_diff": settings.changes(parent["config"], chosen) if parent else {},
        "seed": config.seed,
        "k": config.score.k,
        "keep_seen": config.score.keep_seen,
        "users": data.num_users,
        "items": data.num_items,
        "model_id": model.model_id if certificate else None,
        "trained_before": model.head["trained_before"] if certificate else None,
        "judged_before": model.head["judged_before"],
        "judge_protocol": parts.protocol,
        "train": {
            "trained": model.trained,
            "reason": model.reason,
            **{
                key: model.head.get(key) for key in ("objective", "epochs", "steps", "losses", "warm", "budget_reached")
            },
        },
        "engine": plan.engine,
        "certificate": asdict(certificate) | {"passed": certificate.passed} if certificate else None,
        "similar_certificate": asdict(nearest) | {"passed": nearest.passed} if nearest else None,
        "similar_from": plan.neighbours.key if plan.neighbours else None,
        "measured": [asdict(result) for result in plan.audits],
        "metrics": [asdict(row) for row in outcome.metrics if row.segment == "all"],
        "differences": [asdict(row) for row in outcome.differences],
        "decisions": list(plan.decisions),
        "calibration": {name: calibration.facts for name, calibration in plan.calibrations.items()} or None,
        "counts": tables.counts | data.counts,
        "machine": machine(),
        "versions": versions(),
    }


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every check of the night, and what they mean for its publication."""

    run_id: str
    results: tuple[AuditResult, ...]
    allow_degraded: str | None

    @property
    def failed(self) -> tuple[AuditResult, ...]:
        """Checks of severity error that did not hold."""
        return tuple(result for result in self.results if result.severity == "error" and not result.passed)

    @property
    def blocked(self) -> bool:
        """Whether the run may not be published."""
        return bool(self.failed) and self.allow_degraded is None

    @property
    def facts(self) -> Json:
        """What the manifest says of it."""
        status = "blocked" if self.blocked else "degraded" if self.failed else "published"
        return {
            "status": status,
            "degraded_reason": self.allow_degraded if status == "degraded" else None,
            "blocked_because": [_sentence(result) for result in self.failed] if self.blocked else [],
            "audits": [asdict(result) for result in self.results],
        }

    def stop(self, kept: Path) -> NoReturn:
        """Ends a blocked night.

        Raises:
            GateFailed: the model was too weak.
            AuditFailed: any other check failed.
        """
        kind = GateFailed if all(result.check.startswith("gate_") for result in self.failed) else AuditFailed
        more = f" and {len(self.failed) - 1} more" if len(self.failed) > 1 else ""
        raise kind(
            f"run {self.run_id} blocked by {_sentence(self.failed[0])}{more}; readers still see the last good run;"
            f" read {kept / 'report.html'}, or publish with --allow-degraded REASON"
        )


def _sentence(result: AuditResult) -> str:
    detail = f" ({result.detail})" if result.detail else ""
    return f"{result.check}: observed {result.observed}, expected {result.expected}{detail}"


def finished(head: Json, verdict: Verdict, rows: dict[str, int], say: Say) -> Json:
    """The whole head of the manifest: what was written and checked, and what it took."""
    return (
        head
        | verdict.facts
        | {
            "rows": rows | {schemas.AUDITS.name: len(verdict.results)},
            "started_at": say.started_at.isoformat(),
            "finished_at": now().isoformat(),
            "seconds": head.get("seconds", {}) | {name: round(took, 3) for name, took in say.seconds.items()},
            "part_seconds": head.get("part_seconds", {}) | {name: round(took, 3) for name, took in say.parts.items()},
            "compiling_seconds": head.get("compiling_seconds", {})
            | {name: round(took, 3) for name, took in say.compiling.items()},
            "peak_bytes": max(head.get("peak_bytes", 0), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024),
        }
    )


@dataclass(frozen=True, slots=True)
class Night:
    """What a night came to, for the one line that the operator sees and for `--json`."""

    manifest: Json
    note: str = ""

    @classmethod
    def already(cls, done: Done) -> Night:
        """The date was done before."""
        note = "already published, nothing to do"
        if done.differences:
            note += f"; {', '.join(done.differences)} changed since: --force publishes another run of this date"
        return cls(done.manifest, note)

    @property
    def text(self) -> str:
        """One line."""
        facts = self.manifest
        if self.note:
            return f"{facts['run_id']} {self.note}"
        figures = {(row["metric"], row["k"], row["source"]): row["value"] for row in facts["metrics"]}
        quality = "not judged"
        if ("ndcg", 10, "model") in figures:
            quality = f"ndcg@10 {figures['ndcg', 10, 'model']:.4f} (popularity {figures['ndcg', 10, 'popular']:.4f})"
        seconds = sum(facts["seconds"].values())
        return (
            f"{facts['run_id']} {facts['status']}: {facts['users']:,} users, {facts['rows']['recommendations']:,} rows,"
            f" {quality}, {facts['engine']} search, {seconds:.1f} s"
        )

    @property
    def summary(self) -> Json:
        """The manifest without its lists of files and inputs."""
        return {key: value for key, value in self.manifest.items() if key not in ("files", "inputs", "audits")} | {
            "note": self.note
        }


def machine() -> Json:
    """The machine, as far as it shapes a result."""
    return {"cores": len(os.sched_getaffinity(0)), "architecture": platform.machine(), "system": platform.system()}
