"""What is trained for each objective: one recipe per part of the towers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from recbatch import config
from recbatch.model import History

RECIPE_VERSION = 6
"""Raised when the same settings come to mean other weights: every model is then trained anew."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one part is trained."""

    objective: str
    """`next`: the history before a random moment, targets right after it; `fill_in`: some of a history hidden."""
    embedding_dim: int
    dropout: float
    """Share of a history hidden from the query; with `fill_in` the hidden titles are the targets."""
    weight_decay: float
    targets: int
    """`next`: events after the cut that count as answers."""
    reading: History
    share: float
    """Weight of this part's score in the sum."""
    newcomers: float = 0.0
    """Share of examples whose whole history is hidden."""
    rating_weight: float = 0.0
    """Of the rating task beside the retrieval task; 0: there is none."""


def recipes(
    settings: config.Train, has_times: bool, *, newcomers: bool = False, rated: bool = False
) -> tuple[Recipe, ...]:
    """The parts to train.

    `next` is half the columns trained on what follows and half on what is missing: the scores are added. On MovieLens
    100K, protocol U, ndcg@10 is .265 for the first alone, .206 for the second alone and .284 for the sum.

    Args:
        settings: hyper-parameters.
        has_times: whether the order of events means anything; without it `next` becomes `fill_in`.
        newcomers: whether users have tokens, which then also learn to speak for users without a history.
        rated: whether any event carries a rating.

    Returns:
        At least one recipe; the first carries the objective's name.
    """
    share = settings.newcomers if newcomers else 0.0
    if settings.objective == "fill_in" or not has_times:
        parts: tuple[Recipe, ...] = (_fill_in(settings, settings.embedding_dim, settings.fill_in_weight_decay),)
    else:
        first = settings.embedding_dim // 2
        parts = _next(settings, first), _fill_in(settings, settings.embedding_dim - first, settings.weight_decay)
    return tuple(
        replace(part, newcomers=share, rating_weight=settings.rating_weight if rated else 0.0) for part in parts
    )


def _next(settings: config.Train, dim: int) -> Recipe:
    return Recipe(
        objective="next",
        embedding_dim=dim,
        dropout=settings.history_dropout,
        weight_decay=settings.weight_decay,
        targets=settings.targets_per_cut,
        reading=History(settings.half_life_events, settings.max_history),
        share=0.5,
    )


def _fill_in(settings: config.Train, dim: int, weight_decay: float) -> Recipe:
    return Recipe(
        objective="fill_in",
        embedding_dim=dim,
        dropout=settings.history_dropout,
        weight_decay=weight_decay,
        targets=0,
        reading=History(math.inf, settings.max_history),
        share=0.5,
    )
