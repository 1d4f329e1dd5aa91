"""What is trained for each objective: one recipe per part of the towers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recbatch import config
from recbatch.model import History

RECIPE_VERSION = 1
"""Raised when the same settings come to mean other weights: every model is then trained anew."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one part is trained."""

    objective: str
    """`next`: the history before a random moment, targets right after it; `fill_in`: some of a history hidden."""
    embedding_dim: int
    learning_rate: float
    dropout: float
    """Share of a history hidden from the query; with `fill_in` the hidden titles are the targets."""
    targets: int
    """`next`: events after the cut that count as answers."""
    reading: History
    share: float
    """Weight of this part's score in the sum."""


def recipes(settings: config.Train, has_times: bool) -> tuple[Recipe, ...]:
    """The parts to train.

    Args:
        settings: hyper-parameters.
        has_times: whether the order of events means anything; without it `next` becomes `fill_in`.

    Returns:
        At least one recipe; the first carries the objective's name.
    """
    fill_in = Recipe(
        objective="fill_in",
        embedding_dim=settings.embedding_dim,
        learning_rate=settings.learning_rate,
        dropout=settings.fill_in_hidden,
        targets=0,
        reading=History(math.inf, settings.max_history),
        share=1.0,
    )
    if settings.objective == "fill_in" or not has_times:
        return (fill_in,)
    following = Recipe(
        objective="next",
        embedding_dim=settings.embedding_dim,
        learning_rate=settings.learning_rate,
        dropout=settings.history_dropout,
        targets=settings.targets_per_cut,
        reading=History(settings.half_life_events, settings.max_history),
        share=1.0,
    )
    return (following,)
