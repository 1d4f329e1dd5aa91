"""Nights of a backtest side by side: which of them depend on each other, and whether so many fit into memory.

Trainings in a row start from each other's weights; a cold one starts a chain that knows nothing of the one before.
Chains run in processes of their own, a chain's nights one after the other.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from recbatch.config import Config, memory_bytes
from recbatch.contracts import Dataset, Progress
from recbatch.errors import ConfigError

from . import _memory

_MIB = 2**20
Result = TypeVar("Result")


def chains(nights: int, retrain_every: int, config: Config) -> list[range]:
    """The nights (0 is the first) that follow from each other, in order.

    Args:
        nights: how many there are.
        retrain_every: nights per training.
        config: says how many warm trainings follow a cold one.
    """
    settings = config.train
    trainings = settings.max_warm_starts + 1 if settings.warm_start else 1
    length = trainings * retrain_every
    return [range(first, min(first + length, nights)) for first in range(0, nights, length)]


def require(data: Dataset, config: Config, jobs: int, *, beside: int = 0) -> None:
    """Checks that so many nights fit side by side.

    Args:
        data: of a night.
        config: holds the budget.
        jobs: as asked for.
        beside: further nights that run at the same time.

    Raises:
        ConfigError: together they exceed `score.memory_budget`; the line has the figures.
    """
    one, budget = _memory.require(data, config), memory_bytes(config.score.memory_budget)
    total = (jobs + beside) * one
    if total > budget:
        raise ConfigError(
            f"--jobs {jobs} needs about {total // _MIB} MiB, {jobs + beside} processes of {one // _MIB} MiB each,"
            f" score.memory_budget allows {budget // _MIB} MiB: raise it to {-(-total // 2**30)}GiB or ask for"
            f" --jobs {max(1, budget // one - beside)}"
        )


def run(work: Callable[[range], Result], parts: Sequence[range], jobs: int, progress: Progress) -> list[Result]:
    """Does the parts, at most `jobs` at a time, each in a process of its own; results in the order of the parts.

    Args:
        work: a picklable call.
        parts: chains of nights.
        jobs: how many at a time.
        progress: called with the nights done.
    """
    total, done = sum(map(len, parts)), 0
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    with ProcessPoolExecutor(min(jobs, len(parts)), spawn, max_tasks_per_child=1) as pool:
        running = {pool.submit(work, part): part for part in parts}
        for future in as_completed(running):
            future.result()  # the first error ends the command
            done += len(running[future])
            progress("nights", done, total)
    return [future.result() for future in running]
