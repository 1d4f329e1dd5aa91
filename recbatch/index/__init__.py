"""Top-k search over the candidates, with the exact twin beside it and a certificate of the one against the other.

Every engine hands its finalists to one kernel that scores them again, independent of batch and engine, and sorts them
by score and position: exact engines therefore agree in ids, ranks and bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from recbatch.config import Index as Settings
from recbatch.contracts import Certificate, Exclusions, Float32s, Index
from recbatch.index import decisions
from recbatch.index.calibrate import Approximate, Calibration, approximate, calibrate, exact_seconds
from recbatch.index.certify import certify, recalls, sample_users
from recbatch.index.exact import ExactIndex, plain_products
from recbatch.index.leaves import FIRST_EFFORT, LeafIndex
from recbatch.index.scann import ScannIndex

__all__ = [
    "Calibration",
    "Certified",
    "ExactIndex",
    "LeafIndex",
    "ScannIndex",
    "build",
    "build_certified",
    "calibrate",
    "certify",
    "decisions",
    "exact_seconds",
    "plain_products",
    "recalls",
    "sample_users",
]

_RETUNES = 4
"""Doublings of the search effort before exact search takes over: 16 times the first effort."""


@dataclass(frozen=True, slots=True)
class Certified:
    """An index, what it is worth, and how it came about."""

    index: Index
    certificate: Certificate
    decisions: tuple[str, ...]
    """One line each, in the order in which they were taken."""
    calibration: Calibration | None
    """None where the engine was named."""


def build(candidates: Float32s, engine: str, effort: int = FIRST_EFFORT) -> Index:
    """An index over the candidates.

    Args:
        candidates: shape (items, dim), finite.
        engine: `exact`, `leaves`, or ScaNN's `brute`, `ah` or `tree`.
        effort: of an approximate one.

    Returns:
        The index.
    """
    # Below a hundred items there is nothing to partition or to quantise.
    if engine == "exact" or len(candidates) < 100:
        return ExactIndex(candidates)
    return replace(approximate(candidates, engine), effort=effort)


def build_certified(
    candidates: Float32s,
    settings: Settings,
    *,
    queries: Float32s,
    exclude: Exclusions,
    k: int,
    users: int = 0,
    decided: Calibration | None = None,
) -> Certified:
    """An index that reaches the target recall on real queries: retuned, then replaced by exact search (law 6).

    Args:
        candidates: shape (items, dim).
        settings: engine, target and limits.
        queries: shape (n, dim): a sample of tonight's users.
        exclude: what each of them must not get.
        k: list length that will be published.
        users: how many will be searched for; matters to `auto` only.
        decided: what `auto` came to in an earlier night with the same model.

    Returns:
        The index with its certificate.
    """
    calibration = decided if settings.engine == "auto" else None
    if calibration:
        index = build(candidates, calibration.engine, calibration.effort)
    elif settings.engine == "auto":
        calibration, index = calibrate(candidates, settings, queries=queries, exclude=exclude, k=k, users=users)
    else:
        index = build(candidates, settings.engine)
    lines = [f"engine {index.engine} for {len(candidates)} candidates" + (_why(calibration) if calibration else "")]
    index, certificate = _tuned(index, candidates, settings, queries, exclude, k, lines)
    if calibration:
        effort = index.effort if isinstance(index, Approximate) else 0
        calibration = replace(calibration, engine=index.engine, effort=effort)
    return Certified(index, certificate, tuple(lines), calibration)


def _why(calibration: Calibration) -> str:
    return f": {calibration.reason}" + (", as decided before with this model" if calibration.replayed else "")


def _tuned(
    index: Index,
    candidates: Float32s,
    settings: Settings,
    queries: Float32s,
    exclude: Exclusions,
    k: int,
    lines: list[str],
) -> tuple[Index, Certificate]:
    oracle, target = ExactIndex(candidates, in_bytes=False), settings.target_recall
    certificate = certify(index, oracle, queries, exclude, k=k, target=target)
    for _ in range(_RETUNES):
        if certificate.passed or not isinstance(index, Approximate) or index.is_exact:
            break
        lines.append(f"recall {certificate.recall:.4f} below {target}: search effort doubled")
        index = replace(index, effort=index.effort * 2)
        certificate = certify(index, oracle, queries, exclude, k=k, target=target)
    if not certificate.passed:
        lines.append(f"recall {certificate.recall:.4f} below {target}: exact search takes over")
        index = ExactIndex(candidates)
        certificate = certify(index, oracle, queries, exclude, k=k, target=target)
    return index, certificate
