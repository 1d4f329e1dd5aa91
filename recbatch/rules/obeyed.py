"""The rules of one night, as arrays by position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbatch.contracts import NO_ITEM, NO_TIME, Bools, Events, Exclusions, Float32s, Int32s
from recbatch.rules.caps import Caps


@dataclass(frozen=True, slots=True)
class Pins:
    """Titles that come first, for everybody or for the users of a segment."""

    items: Int32s
    """Shape (pins,): item positions in the order in which they stand in a list."""
    segment: Int32s
    """Shape (pins,): row of `members`."""
    members: Bools
    """Shape (segments, users): who is in each."""

    def of(self, users: Int32s) -> Int32s:
        """Shape (B, pins): the titles pinned for some users, NO_ITEM where a pin is not theirs or repeats another."""
        streams = np.where(self.members[self.segment][:, users].T, self.items, np.int32(NO_ITEM))
        first: dict[int, list[int]] = {}
        for place, item in enumerate(self.items.tolist()):
            earlier = first.setdefault(item, [])
            if earlier:
                streams[(streams[:, earlier] != NO_ITEM).any(axis=1), place] = NO_ITEM
            earlier.append(place)
        return np.asarray(streams, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Rules:
    """What every list of a night obeys; the default forbids seen titles and nothing else."""

    seen_since: int | None = None
    """Microseconds since 1970: what was seen before may come back; none: nothing that was ever seen may."""
    eligible: Bools | None = None
    """Shape (items,): what may be recommended at all; none: everything."""
    denied: Exclusions | None = None
    """One row per user of the dataset: item positions that they must not get."""
    caps: Caps | None = None
    pins: Pins | None = None
    bias: Float32s | None = None
    """Shape (items,): what boosts add to the model's score: the logarithm of how many times as likely."""
    digest: str = ""
    """Over the content of the files that the rules were read from; the settings have a digest of their own."""

    def seen(self, events: Events) -> Events:
        """The events that make their titles seen."""
        return events if self.seen_since is None else events.where(self.makes_seen(events))

    def makes_seen(self, events: Events) -> Bools:
        """Shape (events,): whether each makes its title seen: within the window, or without a time."""
        if self.seen_since is None:
            return np.ones(len(events.items), dtype=np.bool_)
        return np.asarray((events.occurred_at >= self.seen_since) | (events.occurred_at == NO_TIME))


NONE = Rules()
"""Seen titles stay away, and that is all."""
