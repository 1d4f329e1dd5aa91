"""`--index auto`: every engine on a sample of tonight's queries, and the cheapest that reaches the target.

What an engine costs tonight is building it plus all users at the rate of the sample. Where the best so far takes
seconds, nothing more is measured: no other engine could earn back what importing and building it takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np

from recbatch import _compiling, _threads
from recbatch.config import Index as Settings
from recbatch.contracts import Exclusions, Float32s, Index, Int32s, Json
from recbatch.index.certify import recalls
from recbatch.index.exact import ExactIndex
from recbatch.index.leaves import FIRST_EFFORT, LeafIndex
from recbatch.index.scann import ScannIndex

Approximate = LeafIndex | ScannIndex
"""What has an effort. ScaNN's brute force is exact all the same."""

_OPERATIONS_PER_CORE = 6.0e10
"""Multiplications and additions per second of exact search with its selection on one core: 70 to 115e9 with AVX-512."""
_TIMES_WITH_BYTES = 2.5
"""So many times more where bytes come first: 190 to 270e9."""
_TIMES_WITH_TILES = 4.0
"""So many times more where the matrix unit multiplies them: 160 to 390e9 at 64 columns, 890e9 at 193."""
_SAMPLE = 512
"""Users that every setting is measured on."""
_LEAST_SECONDS = 0.2
"""A sample that is searched faster is searched again."""
_EFFORTS = (1, 2, 3, 4, 5, 6, 8, 12, 16, 24, 32, 48, 64)
_BRUTE_BELOW = 50_000
"""Titles; ScaNN's brute force selects more slowly than the exact engine above."""
_PARTITIONED_FROM = 20_000
"""Titles; ScaNN's guide wants no tree below."""
_HASHING_BELOW = 300_000
"""Titles; above, looking at every code takes longer than the tree by far."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One engine with one setting on the sample."""

    engine: str
    effort: int
    recall: float
    users_per_second: float
    build_seconds: float

    def seconds_for(self, users: int) -> float:
        """Predicted time for so many users."""
        return self.build_seconds + users / self.users_per_second


@dataclass(frozen=True, slots=True)
class Calibration:
    """Which engine tonight, how hard it searches, and why."""

    engine: str
    effort: int
    reason: str
    users: int
    """For whom the cost was counted."""
    sampled: int = 0
    seconds: float = 0.0
    """What the calibration took, builds included."""
    trials: tuple[Trial, ...] = ()
    replayed: bool = False
    """Whether it was taken by an earlier night with the same model."""

    @property
    def timed(self) -> bool:
        """Whether the decision depends on measured times, so that it has to be stored to be taken again."""
        return bool(self.trials)

    @property
    def facts(self) -> Json:
        """For the manifest and for the file that stores it."""
        return asdict(self) | {"trials": [asdict(trial) for trial in self.trials]}

    @classmethod
    def of_facts(cls, facts: Json) -> Calibration:
        """The calibration that an earlier night stored."""
        trials = tuple(Trial(**trial) for trial in facts["trials"])
        return cls(**(facts | {"trials": trials, "replayed": True}))


def exact_seconds(users: int, items: int, dim: int) -> float:
    """About how long exact search takes, in seconds; the same on every machine with as many cores of a kind."""
    unit = _compiling.vector_unit()
    times = _TIMES_WITH_TILES if unit.has_tiles else _TIMES_WITH_BYTES if unit.has_bytes else 1.0
    return 2.0 * users * items * dim / (_OPERATIONS_PER_CORE * times * _threads.workers())


def calibrate(
    candidates: Float32s, settings: Settings, *, queries: Float32s, exclude: Exclusions, k: int, users: int
) -> tuple[Calibration, Index]:
    """The cheapest engine that reaches the target.

    Args:
        candidates: shape (items, dim).
        settings: target and limits.
        queries: shape (n, dim), n >= 1: a sample of tonight's users.
        exclude: what each of them must not get.
        k: list length.
        users: how many will be searched for.

    Returns:
        The decision with everything that was measured, and the index that it means.
    """
    exact = ExactIndex(candidates)
    expected = exact_seconds(users, *candidates.shape)
    if expected < settings.exact_seconds or len(candidates) < 100:
        return Calibration("exact", 0, f"about {expected:.1f} s of exact search: nothing is cheaper", users), exact
    began = time.monotonic()
    rows = np.arange(0, len(queries), max(1, len(queries) // _SAMPLE))
    sample = queries[rows], exclude.of_queries(rows)
    # Compiled here, so that its rate is the one of a large night.
    oracle = ExactIndex(candidates, compiled=True)
    rate, truth = _timed(lambda: oracle.search(sample[0], k, sample[1])[0], warm=True)
    trials = [Trial("exact", 0, 1.0, rate * len(rows), 0.0)]
    indexes: dict[tuple[str, int], Index] = {("exact", 0): exact}
    for engine in _engines(len(candidates)):
        so_far = min(trial.seconds_for(users) for trial in trials if trial.recall >= settings.target_recall)
        if so_far < settings.exact_seconds or time.monotonic() - began >= settings.calibration_seconds:
            break
        for trial, index in _trials(candidates, engine, sample, truth, k, settings.target_recall):
            trials.append(trial)
            indexes[engine, trial.effort] = index
            if time.monotonic() - began >= 2 * settings.calibration_seconds:
                break
    good = [trial for trial in trials if trial.recall >= settings.target_recall]
    best = min(good, key=lambda trial: trial.seconds_for(users))
    reason = f"cheapest of {len(good)} settings that reach recall {settings.target_recall}"
    seconds = time.monotonic() - began
    chosen = Calibration(best.engine, best.effort, reason, users, len(rows), seconds, tuple(trials))
    return chosen, indexes[best.engine, best.effort]


def approximate(candidates: Float32s, engine: str) -> Approximate:
    """The index of an engine other than `exact`, at its first effort."""
    return LeafIndex.build(candidates) if engine == "leaves" else ScannIndex.build(candidates, engine)


def _engines(items: int) -> tuple[str, ...]:
    """In the order of what they promise: the time may be up before the last."""
    engines = ["leaves", "tree"] if items >= _PARTITIONED_FROM else []
    if items < _HASHING_BELOW:
        engines.append("ah")
    return (*engines, "brute") if items < _BRUTE_BELOW else tuple(engines)


def _trials(
    candidates: Float32s,
    engine: str,
    sample: tuple[Float32s, Exclusions],
    truth: Int32s,
    k: int,
    target: float,
) -> Iterator[tuple[Trial, Approximate]]:
    """From the middle: more effort until the target is reached, or less until it is missed."""
    began = time.monotonic()
    built = approximate(candidates, engine)
    build_seconds = time.monotonic() - began
    place = 0 if built.is_exact else _EFFORTS.index(FIRST_EFFORT)
    direction = 0
    while 0 <= place < len(_EFFORTS):
        index = replace(built, effort=_EFFORTS[place])
        rate, found = _timed(lambda of=index: of.search(sample[0], k, sample[1])[0], warm=direction == 0)  # type: ignore[misc]
        recall = float(recalls(found, truth, len(candidates)).mean())
        yield Trial(engine, index.effort, recall, rate * len(sample[0]), build_seconds), index
        wanted = -1 if recall >= target else 1
        if built.is_exact or direction not in (0, wanted):
            return
        direction = wanted
        place += direction


def _timed(search: Callable[[], Int32s], *, warm: bool = False) -> tuple[float, Int32s]:
    """Searches of the sample per second, and what it found."""
    if warm:
        search()
    began, times = time.monotonic(), 0
    while times == 0 or time.monotonic() - began < _LEAST_SECONDS:
        found = search()
        times += 1
    return times / (time.monotonic() - began), found
