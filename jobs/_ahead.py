"""Trainings of a backfill ahead of their nights, side by side: those that go on from no earlier model.

Nights follow each other: each is judged against the one before and audited against all before it. What training from
scratch gives depends on the events before its date and on the settings only, so it may run early, in a process of its
own; its night takes the weights where it would have trained them, and does everything else when its turn comes.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from recbatch import split, train
from recbatch.config import Config
from recbatch.contracts import Dataset, Json, Split
from recbatch.errors import RecbatchError
from recbatch.store import Lake

from . import _side_by_side
from ._model import Trained, train_both


def from_scratch(heads: Sequence[Json], days: Sequence[date], config: Config) -> list[date]:
    """The dates on which training begins anew, if no vocabulary drifts and no model fails the gate until then.

    Args:
        heads: of the usable models on the shelf.
        days: the dates to come, oldest first.
        config: says when a model is too old, and how many warm trainings follow a cold one.
    """
    settings, found = config.train, []
    if settings.mode == "never" or settings.budget:
        return []
    digest = train.train_digest(settings)
    known = [
        (
            date.fromisoformat(head["trained_before"]),
            head.get("warm_starts", 0),
            (head["train_digest"], head["seed"]) == (digest, config.seed),
        )
        for head in heads
    ]
    for day in days:
        last = max((one for one in known if one[0] <= day), default=None)
        fits = last is not None and last[2] and (day - last[0]).days <= settings.max_model_age_days
        if fits and settings.mode == "auto":
            continue
        warm = settings.warm_start and last is not None and last[2] and last[1] < settings.max_warm_starts
        if not warm:
            found.append(day)
        known.append((day, last[1] + 1 if warm and last else 0, True))
    return found


@dataclass(frozen=True, slots=True)
class _Running:
    key: str
    process: SpawnProcess
    answer: Connection

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.answer.close()


class Ahead:
    """Trains for the dates to come; use as a context manager, which ends whatever still trains."""

    def __init__(
        self, lake: Lake, config: Config, days: Sequence[date], jobs: int, data_of: Callable[[date], Dataset]
    ) -> None:
        """Starts nothing.

        Args:
            lake: of the backfill, locked.
            config: settings of all of its nights.
            days: the dates that it runs, oldest first.
            jobs: trainings at a time; with fewer than 2, nights train for themselves.
            data_of: the dataset of a date.
        """
        self._lake, self._config, self._days, self._jobs, self._data_of = lake, config, days, jobs, data_of
        self._running: dict[date, _Running] = {}

    def __enter__(self) -> Ahead:
        return self

    def __exit__(self, *_: object) -> None:
        for job in self._running.values():
            job.end()

    def look(self, day: date) -> None:
        """Before the night of a day: begins as many trainings, its own first, as may run.

        Raises:
            ConfigError: so many and the night itself do not fit into the memory budget.
        """
        for past in [one for one in self._running if one < day]:
            self._running.pop(past).end()
        if self._jobs < 2:
            return
        refused = train.rejected(self._lake)
        heads = [head for head in train.model_heads(self._lake) if head["model_id"] not in refused]
        for one in from_scratch(heads, [other for other in self._days if other >= day], self._config):
            if one not in self._running and len(self._running) < self._jobs:
                self._begin(one)

    def _begin(self, day: date) -> None:
        try:
            data = self._data_of(day)
        except RecbatchError:
            return  # the night of that day meets it too, and tells
        _side_by_side.require(data, self._config, self._jobs, beside=1)
        spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
        answer, told = spawn.Pipe(duplex=False)
        process = spawn.Process(target=_train, args=(told, data, self._config), daemon=True)
        process.start()
        told.close()
        key = train.model_key(data, self._config.train, self._config.seed)
        self._running[day] = _Running(key, process, answer)

    def take(self, day: date, key: str, parts: Split) -> Trained | None:
        """What was trained for a night, awaited; none if nothing was, or for other events than it has.

        Args:
            day: of the night.
            key: the model's id; it names the start, the events and the settings.
            parts: the night's split: the parent may have moved its boundary.
        """
        job = self._running.pop(day, None)
        if job is None:
            return None
        try:
            done: Trained | None = job.answer.recv() if job.key == key else None
        except EOFError:  # it ended without an answer: the night trains, and meets what that met
            done = None
        job.end()
        return done if done and (done.judge_from, done.protocol) == (parts.judge_from, parts.protocol) else None


def _train(told: Connection, data: Dataset, config: Config) -> None:
    """In a process of its own: trains, answers, ends; and ends with the backfill, however that ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    told.send(train_both(data, split.by_time(data, config.judge), config))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
