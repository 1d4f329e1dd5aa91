"""What will be scored with: the ranker, its certified index, and the checks that the night has made so far."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recbatch import index, score
from recbatch.config import Config
from recbatch.contracts import AuditResult, Certificate, Dataset, Json, Popular
from recbatch.evaluate import Outcome
from recbatch.rules import Rules
from recbatch.score import Ranker
from recbatch.store import Lake

from ._model import Model
from ._similar import Neighbours, neighbours


@dataclass(frozen=True, slots=True)
class Plan:
    """How tonight's users are ranked, and why so."""

    ranker: Ranker
    popular: Popular
    certificate: Certificate | None
    decisions: tuple[str, ...]
    audits: tuple[AuditResult, ...]
    neighbours: Neighbours | None = None
    calibrations: dict[str, index.Calibration] = field(default_factory=dict)
    """By what is searched, `lists` and `similar`; empty where the engine was named."""

    @property
    def engine(self) -> str:
        """The engine that answers, `none` for lists by popularity only."""
        return self.ranker.index.engine if self.ranker.index else "none"


def plan(
    lake: Lake,
    model: Model,
    outcome: Outcome,
    data: Dataset,
    everything: Popular,
    config: Config,
    rules: Rules,
    allow_degraded: str | None,
    parent: Json | None,
) -> Plan:
    """The ranker for tonight: certified search by the served weights, or popularity only after a failed gate.

    Decisions that were taken by timing are stored beside the model, and taken again by later nights with it.
    `everything` is the popularity of all titles, by every event; `parent` the manifest of the run before.

    Raises:
        DataError: embeddings are not finite or have collapsed.
    """
    popular = score.only(everything, rules.eligible)
    by_popularity = Ranker(popular, keep_seen=config.score.keep_seen, rules=rules)
    if outcome.failed and allow_degraded:
        return Plan(by_popularity, popular, None, ("the gate failed: rows by popularity only",), outcome.gate)
    towers = model.served.with_items(data)
    profiles = towers.profiles(data)
    frozen = config.score.fashion == "trained"
    catalogue = score.Catalogue.of(
        towers, data, everything.shares, model.served_from(data), rules=rules, as_trained=frozen
    )
    if len(catalogue.positions) == 0:
        return Plan(
            by_popularity, popular, None, ("the model knows no eligible title: rows by popularity only",), outcome.gate
        )
    known = catalogue.histories(data.events)
    users = index.sample_users(known.counts, config.index.certify_users, config.seed)
    barred = by_popularity.barred(data.events.of_users(users), users.astype(np.int32))
    which = (lake, model.model_id, config.score.k, config.index)
    decided = index.decisions.stored(*which, eligible=config.rules.eligible)
    built = index.build_certified(
        catalogue.embeddings,
        config.index,
        queries=towers.embed(known.of_users(users), None if profiles is None else profiles[users]),
        exclude=score.renamed(barred, catalogue.candidate_of_item),
        k=config.score.k,
        users=data.num_users,
        decided=decided.get("lists"),
    )
    ranker = Ranker(popular, towers, catalogue, built.index, config.score.keep_seen, profiles, rules)
    similar = neighbours(lake, catalogue, data, config, parent, decided.get("similar"))
    audits = [*outcome.gate, _certified("index_certificate", built.certificate, "users")]
    lines, taken = built.decisions, {"lists": built.calibration}
    if similar:
        audits.append(_certified("similar_items_certificate", similar.certificate, "items"))
        lines += similar.decisions
        taken["similar"] = similar.calibration
    calibrations = {name: calibration for name, calibration in taken.items() if calibration}
    index.decisions.keep(*which, calibrations, eligible=config.rules.eligible)
    return Plan(ranker, popular, built.certificate, lines, tuple(audits), similar, calibrations)


def _certified(check: str, certificate: Certificate, queries: str) -> AuditResult:
    return AuditResult(
        check=check,
        severity="error",
        passed=certificate.passed,
        observed=f"recall@{certificate.k} {certificate.recall:.4f} on {certificate.users} {queries}",
        expected=f"at least {certificate.target}",
        detail=f"engine {certificate.engine}, interval {certificate.ci_low:.4f} to {certificate.ci_high:.4f}, worst"
        f" percentile {certificate.worst_percentile:.4f}, score loss {certificate.score_loss:.2e}",
    )
