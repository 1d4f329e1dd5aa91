"""A search for better training settings: Optuna's TPE over a journal of JSON lines, which a later start goes on with.

The journal is the study: every trial with its settings and the figure of every judged user, no names among them. It is
read as JSON, so nothing in it can run code.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbatch import metrics, store
from recbatch.config import Train
from recbatch.contracts import Progress, no_progress
from recbatch.errors import InputMissing, StorageFailed
from recbatch.metrics import Float64s

Values = dict[str, float | int]
"""Setting of [train] → value."""


@dataclass(frozen=True, slots=True)
class Range:
    """Where a setting is looked for."""

    low: float
    high: float
    log: bool = False
    whole: bool = False
    only: str | None = None
    """The objective that reads the setting, none for both."""


SPACE = {
    "learning_rate": Range(1e-3, 3e-2, log=True),
    "weight_decay": Range(0.05, 5.0, log=True, only="next"),
    "fill_in_weight_decay": Range(0.3, 30.0, log=True, only="fill_in"),
    "history_dropout": Range(0.1, 0.7),
    "half_life_events": Range(2.0, 60.0, log=True, only="next"),
    "targets_per_cut": Range(3, 60, log=True, whole=True, only="next"),
    "embedding_dim": Range(64, 256, whole=True),
}
"""A third to five times around what is good on MovieLens and MovieTweetings; a setting outside widens its range."""
_RANDOM_TRIALS = 8
"""Trials before the estimator takes over: about one per setting."""
_DIGITS = 3
"""Significant digits of a value: finer differences are noise."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a study knows so far."""

    trials: int
    """Finished ones, those of earlier starts included."""
    current: Float64s
    """Shape (users,): the figure of every judged user under the settings as they are."""
    best: Float64s
    """Shape (users,): under the best ones."""
    settings: Values
    """The best ones; empty where nothing beat the settings as they are."""

    def difference(self, samples: int, seed: int) -> tuple[float, float, float]:
        """Best less current: the mean and its paired 95 % bootstrap interval."""
        gain = self.best - self.current
        low, high = metrics.bootstrap_intervals(gain[:, None], samples, seed)
        return float(gain.mean()), float(min(low[0], gain.mean())), float(max(high[0], gain.mean()))


def require_optuna() -> Any:
    """The module `optuna`, quiet.

    Raises:
        InputMissing: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import optuna
    except ModuleNotFoundError as error:
        raise InputMissing("tune needs the library optuna: pip install 'recbatch[tune]'") from error
    optuna.logging.set_verbosity(logging.ERROR)
    return optuna


def search(
    journal: Path,
    train: Train,
    objective: Callable[[Train], Float64s],
    *,
    trials: int | None,
    seconds: float,
    seed: int,
    progress: Progress = no_progress,
) -> Found:
    """Tries settings until the time or the trials are up; the caller holds the study's lock.

    The first trial of a study are the settings as they are. A trial that would not end in time, by the mean of those
    before, is not begun.

    Args:
        journal: the study; it is made, or gone on with.
        train: the settings as they are.
        objective: settings → the figure of each judged user, shape (users,), the same users in every call.
        trials: how many at most, none for as many as there is time for.
        seconds: the time.
        seed: of the sampler; a study that is gone on with draws anew.
        progress: called as progress("tune", trials done, trials or 0).

    Returns:
        The best of all trials, those of earlier starts included.

    Raises:
        InputMissing: Optuna is not installed.
        StorageFailed: the journal is damaged.
    """
    optuna = require_optuna()
    study = _open(optuna, journal, seed)
    started, done = time.monotonic(), 0
    while trials is None or done < trials:
        elapsed = time.monotonic() - started
        if done and elapsed + elapsed / done > seconds:
            break
        if _finished(optuna, study):
            trial = study.ask()
            values = {name: _suggest(trial, name, train) for name in _names(train)}
            per_user = objective(train.model_copy(update=values))
            for name, value in _attributes(values, per_user).items():
                trial.set_user_attr(name, value)
            study.tell(trial, float(per_user.mean()))
        else:
            study.add_trial(_as_they_are(optuna, train, objective(train)))
        done += 1
        progress("tune", done, trials or 0)
    return _found(_finished(optuna, study), train)


def _open(optuna: Any, journal: Path, seed: int) -> Any:
    """The study in a journal. A kill may leave half a line, a lock file and a trial without an end."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if not journal.exists():
        store.write_bytes(journal, b"")
    whole = journal.read_bytes()
    if whole and not whole.endswith(b"\n"):
        store.write_bytes(journal, whole[: whole.rfind(b"\n") + 1])
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    try:
        storage = optuna.storages.JournalStorage(backend)
        study = optuna.create_study(storage=storage, study_name=journal.stem, direction="maximize", load_if_exists=True)
        begun = study.get_trials(deepcopy=False)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError) as error:
        raise StorageFailed(f"{journal}: damaged ({error}); delete it and tune anew") from error
    for trial in begun:
        if not trial.state.is_finished():
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(begun), n_startup_trials=_RANDOM_TRIALS)
    return study


def _names(train: Train) -> list[str]:
    return [name for name, where in SPACE.items() if where.only in (None, train.objective)]


def _values(train: Train) -> Values:
    return {name: getattr(train, name) for name in _names(train)}


def _range(name: str, train: Train) -> Range:
    where, now = SPACE[name], getattr(train, name)
    return Range(min(where.low, now), max(where.high, now), where.log, where.whole)


def _suggest(trial: Any, name: str, train: Train) -> float | int:
    where = _range(name, train)
    if where.whole:
        return int(trial.suggest_int(name, int(where.low), int(where.high), log=where.log))
    return float(f"{trial.suggest_float(name, where.low, where.high, log=where.log):.{_DIGITS}g}")


def _attributes(values: Values, per_user: Float64s) -> dict[str, Any]:
    return {"settings": values, "per_user": [float(value) for value in per_user]}


def _as_they_are(optuna: Any, train: Train, per_user: Float64s) -> Any:
    """A finished trial of the settings as they are, which the sampler did not draw but learns from."""
    values = _values(train)
    kinds = {True: optuna.distributions.IntDistribution, False: optuna.distributions.FloatDistribution}
    ranges = {name: _range(name, train) for name in values}
    return optuna.trial.create_trial(
        params=values,
        distributions={
            name: kinds[where.whole](
                *((int(where.low), int(where.high)) if where.whole else (where.low, where.high)), log=where.log
            )
            for name, where in ranges.items()
        },
        value=float(per_user.mean()),
        user_attrs=_attributes(values, per_user) | {"current": True},
    )


def _finished(optuna: Any, study: Any) -> list[Any]:
    return list(study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)))


def _found(trials: list[Any], train: Train) -> Found:
    """The best trial, the earliest among equals, beside that of the settings as they are."""
    current = next(trial for trial in trials if trial.user_attrs.get("current"))
    best = max(trials, key=lambda trial: trial.value)
    now = _values(train)
    changed = {name: value for name, value in best.user_attrs["settings"].items() if value != now[name]}
    figures = [np.asarray(trial.user_attrs["per_user"], np.float64) for trial in (current, best)]
    return Found(trials=len(trials), current=figures[0], best=figures[1], settings=changed)
