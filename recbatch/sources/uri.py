"""The words after `--source`."""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any

from recbatch.errors import UsageError
from recbatch.sources.sample_world import World

MOVIELENS = ("100k", "latest-small", "1m", "20m", "25m")
"""The MovieLens releases that tensorflow-datasets knows."""
FORMS = (
    *(f"movielens/{name}" for name in MOVIELENS),
    "files:DIR",
    "recbole:DIR",
    "duckdb:FILE",
    "sample",
    "sample:users=1000,titles=400,seed=7",
)
_LARGEST_USERS, _LARGEST_TITLES = 100_000_000, 10_000_000


def unknown(uri: str) -> UsageError:
    """The error for words that name no source."""
    near = difflib.get_close_matches(uri, FORMS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return UsageError(f"--source {uri}: {hint}use one of {', '.join(FORMS)}")


def world_of(words: str) -> World:
    """The world named by `users=…,titles=…,seed=…,events_per_user=…,events_per_day=…`; what is left out is default.

    Raises:
        UsageError: an unknown parameter, a word that is no number, or a number out of range.
    """
    kinds: dict[str, type[int] | type[float]] = {
        field.name: float if "events" in field.name else int for field in dataclasses.fields(World)
    }
    values: dict[str, Any] = {}
    for word in filter(None, words.split(",")):
        name, _, value = word.partition("=")
        if name not in kinds:
            near = difflib.get_close_matches(name, kinds, n=1) or [", ".join(kinds)]
            raise UsageError(f"--source sample:{words}: unknown parameter {name}; did you mean {near[0]}?")
        try:
            values[name] = kinds[name](value)
        except ValueError as error:
            raise UsageError(f"--source sample:{words}: {name} takes a number, not {value!r}") from error
    world = World(**values)
    _require_range(words, world)
    return world


def _require_range(words: str, world: World) -> None:
    ranges = {
        "users": (1, _LARGEST_USERS),
        "titles": (10, _LARGEST_TITLES),
        "seed": (0, 2**63 - 1),
        "events_per_user": (0, 1_000),
        "events_per_day": (-1, 1e9),
    }
    for name, (least, most) in ranges.items():
        if not least <= getattr(world, name) <= most:
            raise UsageError(f"--source sample:{words}: {name} must lie between {least} and {most:g}")
