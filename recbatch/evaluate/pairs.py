"""What judged users went on to do, and where it stands in a list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbatch.contracts import NO_ITEM, Bools, Events, Int32s, Int64s, Lists, Split


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What judged users went on to do: distinct (user, item) pairs by user."""

    users: Int32s
    """Shape (judged,): user positions, ascending."""
    user_of: Int32s
    """Shape (pairs,): index into `users`."""
    items: Int32s
    """Shape (pairs,): item positions."""
    occurred_at: Int64s
    """Shape (pairs,): microseconds, or NO_TIME."""
    history: Int64s
    """Shape (judged,): events before the held-out ones."""

    @property
    def warm(self) -> Bools:
        """Shape (judged,): whether the user has a history to go by."""
        return self.history > 0


def held_out(split: Split, *, keep_seen: bool, most: int | None = None) -> HeldOut:
    """The pairs that a list can be judged on.

    A repeated event counts once. Where seen titles are never recommended, an event on a seen title is no pair: no list
    could hold it, and the baselines could not either.

    Args:
        split: what was known and what came of it.
        keep_seen: whether seen titles may be recommended.
        most: more users than this are represented by so many of them, evenly spaced in id order; none: all are judged.
    """
    active = np.flatnonzero(split.test.counts)
    if most is not None and len(active) > most:
        active = active[np.arange(most) * len(active) // most]
    test, before = split.test.of_users(active), split.train.of_users(active)
    width = max(int(test.items.max(initial=0)), int(before.items.max(initial=0))) + 1
    keys, first = np.unique(_keys(test, width), return_index=True)
    if not keep_seen:
        known = np.append(np.sort(_keys(before, width)), np.iinfo(np.int64).max)  # `np.isin` hashes, much slower
        unseen = known[np.searchsorted(known, keys)] != keys
        keys, first = keys[unseen], first[unseen]
    judged, user_of = np.unique(keys // width, return_inverse=True)
    users = active[judged]
    return HeldOut(
        users=users.astype(np.int32),
        user_of=user_of.astype(np.int32),
        items=(keys % width).astype(np.int32),
        occurred_at=test.occurred_at[first],
        history=split.train.counts[users],
    )


def _keys(events: Events, width: int) -> Int64s:
    return events.users_of_events().astype(np.int64) * width + events.items


def ranks_of(pairs: HeldOut, lists: Lists) -> Int32s:
    """The 1-based rank of each pair in its user's list, 0 where it is not in it; `lists.users` equals `pairs.users`."""
    row, column = np.nonzero(lists.positions != NO_ITEM)
    width = max(int(lists.positions.max(initial=0)), int(pairs.items.max(initial=0))) + 1
    listed = row.astype(np.int64) * width + lists.positions[row, column]
    order = np.argsort(listed)
    wanted = pairs.user_of.astype(np.int64) * width + pairs.items
    if len(listed) == 0:
        return np.zeros(len(wanted), dtype=np.int32)
    place = np.minimum(np.searchsorted(listed[order], wanted), len(listed) - 1)
    found = order[place]
    return np.where(listed[found] == wanted, column[found] + 1, 0).astype(np.int32)
