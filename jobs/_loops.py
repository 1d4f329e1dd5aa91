"""Loops of large nights, compiled while input is read: reading keeps one core busy, and Python's lock little."""

from __future__ import annotations

from recbatch import _compiling, index, model, score
from recbatch.config import Config
from recbatch.contracts import Json


def compile_beside(parent: Json | None, config: Config) -> None:
    """Begins to compile if tonight will be a large night, by what the run before it had.

    Nothing happens where most users keep their lists, or there was no run before: compiling then waits to be earned.
    """
    keeps = config.score.reuse and config.score.fashion == "trained"
    if parent is None or keeps:
        return
    dim = config.train.embedding_dim + 1
    if _compiling.pays(2.0 * parent["users"] * parent["items"] * dim):
        _compiling.ahead(_compile)


def _compile() -> None:
    for stage in (model, index, score):
        stage.compile_loops()
