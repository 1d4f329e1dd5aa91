"""The index behind `similar_items`, certified like the one behind the lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbatch import index, score
from recbatch.config import Config
from recbatch.contracts import Certificate, Index
from recbatch.index import Calibration
from recbatch.score import Catalogue


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Search among candidates by cosine, and what it is worth."""

    index: Index
    certificate: Certificate
    decisions: tuple[str, ...]
    calibration: Calibration | None


def neighbours(catalogue: Catalogue, config: Config, decided: Calibration | None = None) -> Neighbours | None:
    """A certified index over the candidates' unit vectors; none where no item can have a neighbour.

    Args:
        catalogue: tonight's candidates.
        config: settings.
        decided: how an earlier night with the same model searched.
    """
    unit = score.unit_vectors(catalogue)
    count = min(config.score.similar, len(unit) - 1)
    if count < 1:
        return None
    generator = np.random.default_rng(config.seed)
    sample = np.sort(generator.choice(len(unit), min(config.index.certify_users, len(unit)), replace=False))
    built = index.build_certified(
        unit,
        config.index,
        queries=unit[sample],
        exclude=score.themselves(sample),
        k=count,
        users=len(unit),
        decided=decided,
    )
    lines = tuple(f"similar items: {decision}" for decision in built.decisions)
    return Neighbours(built.index, built.certificate, lines, built.calibration)
