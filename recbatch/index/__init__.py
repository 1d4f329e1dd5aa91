"""Top-k search over the candidates, with the exact twin beside it and a certificate of the one against the other.

Every engine hands its finalists to one kernel that scores them again, independent of batch and engine, and sorts them
by score and position: exact engines therefore agree in ids, ranks and bits.
"""

from __future__ import annotations

from dataclasses import replace

from recbatch.config import Index as Settings
from recbatch.contracts import Certificate, Exclusions, Float32s, Index
from recbatch.index.certify import certify, sample_users
from recbatch.index.exact import ExactIndex, plain_products
from recbatch.index.scann import ScannIndex

__all__ = [
    "ExactIndex",
    "ScannIndex",
    "build",
    "build_certified",
    "certify",
    "engine_for",
    "plain_products",
    "sample_users",
]

_RETUNES = 4
"""Doublings of the search effort before exact search takes over: 16 times the first effort."""


def engine_for(num_items: int, settings: Settings) -> str:
    """The engine that `auto` stands for: ScaNN's own guide, by the size of the catalogue."""
    if settings.engine != "auto":
        return settings.engine
    if num_items < settings.brute_below:
        return "brute"
    return "ah" if num_items < settings.ah_below else "tree"


def build(candidates: Float32s, settings: Settings) -> Index:
    """An index over the candidates.

    Args:
        candidates: shape (items, dim), finite.
        settings: engine and thresholds.

    Returns:
        An exact index, or ScaNN's.
    """
    engine = engine_for(len(candidates), settings)
    # Below a hundred items ScaNN has nothing to partition or to quantise.
    if engine == "exact" or len(candidates) < 100:
        return ExactIndex(candidates)
    return ScannIndex.build(candidates, engine)


def build_certified(
    candidates: Float32s, settings: Settings, *, queries: Float32s, exclude: Exclusions, k: int
) -> tuple[Index, Certificate, list[str]]:
    """An index that reaches the target recall on real queries: retuned, then replaced by exact search (law 6).

    Args:
        candidates: shape (items, dim).
        settings: engine, target and thresholds.
        queries: shape (n, dim): a sample of tonight's users.
        exclude: what each of them must not get.
        k: list length that will be published.

    Returns:
        The index, its certificate, and one line per decision taken on the way.
    """
    index, oracle = build(candidates, settings), ExactIndex(candidates)
    decisions = [f"engine {index.engine} for {len(candidates)} candidates"]
    for _ in range(_RETUNES):
        certificate = certify(index, oracle, queries, exclude, k=k, target=settings.target_recall)
        if certificate.passed or not isinstance(index, ScannIndex) or index.is_exact:
            break
        decisions.append(f"recall {certificate.recall:.4f} below {settings.target_recall}: search effort doubled")
        index = replace(index, effort=index.effort * 2)
    else:
        certificate = certify(index, oracle, queries, exclude, k=k, target=settings.target_recall)
    if not certificate.passed:
        decisions.append(f"recall {certificate.recall:.4f} below {settings.target_recall}: exact search takes over")
        index = oracle
        certificate = certify(index, oracle, queries, exclude, k=k, target=settings.target_recall)
    return index, certificate, decisions
