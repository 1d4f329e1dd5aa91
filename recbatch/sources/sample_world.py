"""Parameters and laws of the generated world: who is there, when, and with which taste. Hashes only, no state."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import date
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from recbatch.contracts import Int64s

FIRST_DAY = date(2019, 12, 1)
DENSE_DAYS = 31
"""December 2019: enough events to train on for a run date of 2020-01-01."""

_FADE_DAYS = 14.0
"""After the dense days the rate falls by a factor e in this many days, down to the steady one."""
_PRESENT_AT_START = 0.6
"""Share of `users` that is there on the first day; the others arrive in the dense days."""
_NEW_USERS_PER_DAY = 0.008 / 7
_NEW_TITLES_PER_DAY = 0.0025 / 7
"""Shares of `users` and `titles`: 8 users and 1 title a week by default."""
_ACTIVE_SHARE = 0.6
"""A user's activity falls by a factor e while this share of `users` arrives after them."""
_TITLES_PER_TASTE = 50
_FOLLOWS_FEATURES = 0.85
"""Share of users whose tastes are those of their gender and age band, and of their occupation."""


@dataclass(frozen=True, slots=True)
class World:
    """A generated world; equal parameters, equal events on every day."""

    users: int = 1_000
    """Users at the end of the dense month; 0.8 % more arrive per week."""
    titles: int = 400
    """Titles on the first day; 0.25 % more arrive per week."""
    seed: int = 7
    """Which of the worlds of this size."""
    events_per_user: float = 20.0
    """Mean events per user in the dense month."""
    events_per_day: float = -1.0
    """Events per day in the long run; negative: 5 % of `users`."""

    EDITION: ClassVar[int] = 1
    """Raised when the same parameters give other events than before."""

    @property
    def uri(self) -> str:
        """The canonical name: every parameter spelled out."""
        rates = f"events_per_user={self.events_per_user:g},events_per_day={self.steady_rate:g}"
        return f"sample:users={self.users},titles={self.titles},seed={self.seed},{rates}"

    @property
    def steady_rate(self) -> float:
        """Events per day in the long run."""
        return self.events_per_day if self.events_per_day >= 0 else 0.05 * self.users

    @property
    def tastes(self) -> int:
        """Number of tastes."""
        return int(min(max(self.titles // _TITLES_PER_TASTE, 2), 64, self.titles))

    @property
    def hit_stride(self) -> int:
        """Step of the hit list through a window of titles; prime to its length, so that it meets every title."""
        stride = max(1, int(self.titles * 0.381966))
        while np.gcd(stride, self.titles) != 1:
            stride += 1
        return stride

    def users_by(self, day: int | Int64s) -> Int64s:
        """Users that have arrived by the end of a day (days since FIRST_DAY)."""
        day = np.asarray(day, np.int64)
        early = self.users * (_PRESENT_AT_START + (1 - _PRESENT_AT_START) * (day + 1) / DENSE_DAYS)
        late = self.users * (1 + _NEW_USERS_PER_DAY * (day - DENSE_DAYS + 1))
        return np.maximum(1, np.where(day < DENSE_DAYS, early, late)).astype(np.int64)

    def titles_by(self, day: int | Int64s) -> Int64s:
        """Titles that have appeared by the end of a day."""
        return (self.titles * (1 + _NEW_TITLES_PER_DAY * np.asarray(day, np.int64))).astype(np.int64)

    def day_of_title(self, titles: int) -> Int64s:
        """Shape (titles,): the day on which each of the first titles appeared."""
        return np.ceil((np.arange(titles) + 1 - self.titles) / (self.titles * _NEW_TITLES_PER_DAY)).clip(0).astype(int)

    def sessions_on(self, day: Int64s) -> Int64s:
        """Sessions of each day."""
        dense = max(0.0, self.events_per_user * self.users / DENSE_DAYS - self.steady_rate)
        fading = np.exp(-np.maximum(0, day - DENSE_DAYS + 1) / _FADE_DAYS)
        weekend = np.where((day + FIRST_DAY.weekday()) % 7 >= 5, 1.25, 0.9)
        rate = (self.steady_rate + dense * fading) * weekend / 1.6
        return np.floor(rate + uniforms(self.seed, "sessions", day, day)).astype(np.int64)

    def user_of_session(self, day: Int64s, number: Int64s) -> Int64s:
        """Who each session is of: recent users more often, and of two candidates mostly the livelier."""
        one, other = (self._candidate(day, number, name) for name in ("one", "other"))
        liveliness = [uniforms(self.seed, "lively", user, user) for user in (one, other)]
        pick = uniforms(self.seed, "pick", day, number) < 0.8
        return np.where((liveliness[0] > liveliness[1]) == pick, one, other)

    def taste_of(self, user: Int64s) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        """Main and side taste of each user, and where on the two trails they start: mostly near the beginning."""
        people = self.features_of(user)
        by_features = (people[0] + 2 * people[1]) % self.tastes, (people[2] * 3 + 1) % self.tastes
        tastes, starts = [], []
        for name, planted in zip(("main", "side"), by_features, strict=True):
            free = (uniforms(self.seed, f"{name} free", user, user) ** 1.5 * self.tastes).astype(np.int64)
            follows = uniforms(self.seed, f"{name} follows", user, user) < _FOLLOWS_FEATURES
            tastes.append(np.where(follows, planted, free))
            start = uniforms(self.seed, f"{name} start", user, user) ** 4 * (self.titles // self.tastes)
            starts.append(start.astype(np.int64))
        return tastes[0], tastes[1], starts[0], starts[1]

    def features_of(self, user: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        """Gender (0..1), age band (0..5) and occupation (0..7) of each user."""
        gender, age, work = (uniforms(self.seed, name, user, user) for name in ("gender", "age", "occupation"))
        return (gender * 2).astype(np.int64), (age * 6).astype(np.int64), (work * 8).astype(np.int64)

    def first_title_of(self, user: Int64s) -> Int64s:
        """Where the window of `titles` titles that a user knows begins: later users live with later titles."""
        waited = np.maximum(0, (user - self.users) / (self.users * _NEW_USERS_PER_DAY))
        return self.first_title_on(DENSE_DAYS + waited.astype(np.int64))

    def first_title_on(self, day: Int64s) -> Int64s:
        """Where the newest `titles` titles begin, as a multiple of the number of tastes."""
        return (self.titles_by(day) - self.titles) // self.tastes * self.tastes

    def _candidate(self, day: Int64s, number: Int64s, name: str) -> Int64s:
        known = self.users_by(day)
        fading = _ACTIVE_SHARE * self.users
        reach = 1 - np.exp(-known / fading)
        age = -np.log1p(-uniforms(self.seed, name, day, number) * reach) * fading
        return np.asarray(known - 1 - np.minimum(age.astype(np.int64), known - 1), np.int64)


def uniforms(seed: int, name: str, first: Int64s, second: Int64s) -> npt.NDArray[np.float64]:
    """Numbers in [0, 1) that depend on nothing but the arguments: splitmix64 over them.

    Args:
        seed: of the world.
        name: what the numbers are for.
        first: shape (n,), non-negative.
        second: shape (n,), non-negative.

    Returns:
        Shape (n,).
    """
    state = np.full(len(first), zlib.crc32(f"{seed}/{name}".encode()) * 0x9E3779B1, np.uint64)
    for word in (first, second):
        state = _mix(word.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + state)
    return np.asarray((state >> np.uint64(11)) * 2.0**-53, np.float64)


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> np.uint64(31)), np.uint64)
