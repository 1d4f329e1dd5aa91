"""The gate: rules that a judged model must meet before readers see anything of it."""

from __future__ import annotations

from collections.abc import Mapping

from recbatch import metrics
from recbatch.config import Judge
from recbatch.contracts import AuditResult, Bools, Dataset, Int32s
from recbatch.evaluate.pairs import HeldOut
from recbatch.evaluate.segments import declared_segments
from recbatch.metrics import Float64s

MODEL, PARENT, POPULAR, CHALLENGER = "model", "parent", "popular", "challenger"
"""Whose lists are judged: tonight's, those of the run before, those that need no model, and those that failed."""


def gate(
    ranks: Mapping[str, Int32s], pairs: HeldOut, data: Dataset, settings: Judge, seed: int
) -> tuple[AuditResult, ...]:
    """Judges the judged model: enough users, no baseline missed, no segment below its floor.

    Whatever the paired bootstrap interval of a difference leaves possible counts as met.

    Args:
        ranks: contender → rank of each pair.
        pairs: what was held out.
        data: has the users' features.
        settings: metric, tolerance and floors.
        seed: of the bootstrap.

    Returns:
        One result per rule; too few users to judge give a warning and nothing else.

    Raises:
        ConfigError: a floor names no user feature of this source.
    """
    users = len(pairs.users)
    floors = _floors(pairs, data, settings)
    enough = users >= settings.users_needed
    judged = AuditResult(
        check="gate_judged",
        severity="warn",
        passed=enough,
        observed=f"{users} users to judge",
        expected=f"at least {settings.users_needed}",
        detail=None if enough else "published as not judged: too few users with new events",
    )
    if not enough:
        return (judged,)
    per_user = {
        name: metrics.PER_USER[settings.metric](own, pairs.user_of, users, settings.metric_k)
        for name, own in ranks.items()
    }
    baselines = [name for name in (POPULAR, PARENT) if name in per_user]
    return (
        judged,
        *(_not_worse(per_user[MODEL], per_user[name], name, settings, seed) for name in baselines),
        *(_above_floor(per_user, name, mask, floor, settings, seed) for name, (mask, floor) in floors.items()),
    )


def _not_worse(ours: Float64s, theirs: Float64s, baseline: str, settings: Judge, seed: int) -> AuditResult:
    """The model must not be worse than a baseline by more than chance and `max_drop` explain."""
    high = _upper_end(ours - (1 - settings.max_drop) * theirs, settings, seed)
    return AuditResult(
        check=f"gate_not_worse_than_{baseline}",
        severity="error",
        passed=high >= 0,
        observed=f"{_label(settings)} {ours.mean():.4f} on {len(ours)} users",
        expected=f"at least {baseline}'s {theirs.mean():.4f} less {settings.max_drop:.0%}, as far as chance explains",
        detail=f"difference {ours.mean() - theirs.mean():+.4f}, upper end of its paired 95 % interval {high:+.4f}",
    )


def _above_floor(
    per_user: Mapping[str, Float64s], segment: str, mask: Bools, floor: float, settings: Judge, seed: int
) -> AuditResult:
    """In a declared segment the model must reach `floor` times popularity's figure, as far as chance explains."""
    check, users = f"gate_floor_{segment}", int(mask.sum())
    if users < settings.users_needed:
        return AuditResult(
            check=check,
            severity="warn",
            passed=True,
            observed=f"{users} users",
            expected=f"{_label(settings)} at least {floor:g} times popularity's",
            detail=f"not judged: fewer users than judge.users_needed, {settings.users_needed}",
        )
    ours, theirs = per_user[MODEL][mask], per_user[POPULAR][mask]
    high = _upper_end(ours - floor * theirs, settings, seed)
    least = floor * theirs.mean()
    return AuditResult(
        check=check,
        severity="error",
        passed=high >= 0,
        observed=f"{_label(settings)} {ours.mean():.4f} on {users} users of {segment}",
        expected=f"at least {least:.4f}, {floor:g} times popularity's {theirs.mean():.4f}, as far as chance explains",
        detail=f"{ours.mean() - least:+.4f} from its floor, upper end of the paired 95 % interval {high:+.4f}",
    )


def _floors(pairs: HeldOut, data: Dataset, settings: Judge) -> dict[str, tuple[Bools, float]]:
    """Segment → who is in it, and its floor; the floor of a single value goes before that of its feature."""
    found: dict[str, tuple[Bools, float]] = {}
    for declared, floor in sorted(settings.segment_floors.items(), key=lambda item: "=" in item[0]):
        found |= {name: (mask, floor) for name, mask in declared_segments(declared, pairs, data).items()}
    return found


def _upper_end(differences: Float64s, settings: Judge, seed: int) -> float:
    return float(metrics.bootstrap_intervals(differences[:, None], settings.bootstrap_samples, seed)[1][0])


def _label(settings: Judge) -> str:
    return f"{settings.metric}@{settings.metric_k}"
