"""Loops of large nights, compiled while input is read: reading keeps one core busy, and Python's lock little."""

from __future__ import annotations

from recbatch import _compiling, index, model, score
from recbatch.config import Config
from recbatch.contracts import Json

_LARGE = 5_000_000
"""Interactions from which a night is large, whoever they belong to."""


def compile_beside(interactions: int, parent: Json | None, config: Config) -> None:
    """Begins to compile if tonight is going to be a large night; else compiling waits to be earned.

    Args:
        interactions: about how many will be read; 0 where that cannot be told.
        parent: manifest of the run before, which says how many users and titles there are.
        config: settings; where most users keep their lists, nothing is compiled ahead.
    """
    if config.score.reuse and config.score.fashion == "trained":
        return
    products = 2.0 * parent["users"] * parent["items"] * (config.train.embedding_dim + 1) if parent else 0.0
    if interactions >= _LARGE or _compiling.pays(products):
        _compiling.ahead(_compile)


def _compile() -> None:
    for stage in (model, index, score):
        stage.compile_loops()
