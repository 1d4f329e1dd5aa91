"""The compiled twin of `dataset._by_user_and_time`: events go to their users' places, then each user's are sorted."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from recbatch import _threads
from recbatch.contracts import Int32s, Int64s
from recbatch.kernels import Kernel, leaf

_RUN = 16
"""Events sorted by insertion, before runs are merged."""


def counts(users: Int32s, num_users: int) -> Int64s:
    """Events of each user: shape (num_users,). NumPy's `bincount` would first copy what is no int64."""
    found = np.zeros(num_users, np.int64)
    _COUNT(users, found)
    return found


def shares(offsets: Int64s) -> list[tuple[int, int]]:
    """The first user of each core and the one behind its last, such that all have about as many events."""
    cuts = np.searchsorted(offsets, np.linspace(0, offsets[-1], _threads.workers() + 1))
    return list(pairwise(cuts.tolist()))


def by_user_and_time(users: Int32s, times: Int64s, offsets: Int64s) -> Int64s:
    """The order of events by user and time; equal times keep their input order.

    Each core takes some of the users: it walks over all events, then merges those of one user after the other.

    Args:
        users: shape (events,), from 0.
        times: shape (events,).
        offsets: shape (users + 1,): where each user's events will stand.

    Returns:
        Shape (events,): positions.
    """
    longest = int(np.diff(offsets).max(initial=0))
    order, places = np.empty(len(users), np.int64), offsets[:-1].copy()

    def put(first: int, end: int) -> None:
        _ORDER(users, times, first, end, offsets, places, np.empty(longest, np.int64), order)

    _threads.run([partial(put, *share) for share in shares(offsets)])
    return order


def _in_runs(times, low, high, order):  # type: ignore[no-untyped-def]
    """Sorts each `_RUN` events of a user."""
    for run in range(low, high, _RUN):
        for place in range(run + 1, min(run + _RUN, high)):
            event, hole = order[place], place
            while hole > run and times[order[hole - 1]] > times[event]:
                order[hole] = order[hole - 1]
                hole -= 1
            order[hole] = event


def _merged(times, start, middle, end, order, room):  # type: ignore[no-untyped-def]
    """Makes one run of two that stand side by side; what is left of the second stands in its place."""
    for place in range(start, middle):
        room[place - start] = order[place]
    left, right, place = 0, middle, start
    while left < middle - start:
        if right < end and times[order[right]] < times[room[left]]:
            order[place] = order[right]
            right += 1
        else:
            order[place] = room[left]
            left += 1
        place += 1


def _counted(users, found):  # type: ignore[no-untyped-def]
    for user in users:
        found[user] += 1


def _loop(in_runs: Any, merged: Any) -> Any:
    def loop(users, times, first, end, starts, places, room, order):  # type: ignore[no-untyped-def]
        for event in range(len(users)):
            user = users[event]
            if first <= user < end:
                order[places[user]] = event
                places[user] += 1
        for user in range(first, end):
            low, high = starts[user], starts[user + 1]
            ascends = True
            for place in range(low + 1, high):
                ascends &= times[order[place - 1]] <= times[order[place]]
            width = high - low if ascends else _RUN
            if not ascends:
                in_runs(times, low, high, order)
            while width < high - low:
                for run in range(low, high - width, 2 * width):
                    merged(times, run, run + width, min(run + 2 * width, high), order, room)
                width *= 2

    return loop


_COUNT = Kernel("count", "void(int32[::1], int64[::1])", lambda: _counted)
_ORDER = Kernel(
    "order",
    "void(int32[::1], int64[::1], int64, int64, int64[::1], int64[::1], int64[::1], int64[::1])",
    lambda: _loop(leaf(_in_runs), leaf(_merged)),
)
