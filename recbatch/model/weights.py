"""How much each event of a history counts in its user's query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbatch.contracts import Events, Float32s, Int64s


@dataclass(frozen=True, slots=True)
class History:
    """How a history is read: how fast it fades and how far back it goes."""

    half_life_events: float
    """An event this many events before the last one counts half; infinity: all count alike."""
    max_history: int
    """Only this many last events count."""

    def recency(self, age: Int64s) -> Float32s:
        """What an event of each age counts before division by the norm.

        Args:
            age: any shape, 0 is the newest event of its user.

        Returns:
            The same shape, in [0, 1]: 2^(-age / half_life_events), 0 from max_history on.
        """
        faded = np.exp2(-age / self.half_life_events) if np.isfinite(self.half_life_events) else np.ones(age.shape)
        return np.where(age < self.max_history, faded, 0.0).astype(np.float32)

    def event_weights(self, histories: Events) -> Float32s:
        """The weight of every event: recency times strength, divided by the Euclidean norm over its user's events.

        Strength is log2(1 + `Events.weights`): 1 where the source says nothing, 0 for a weight of 0 or below.

        Returns:
            Shape (events,). A user's weights depend on that user's events only, to the last bit.
        """
        raw = self.recency(ages(histories)) * np.log2(1 + np.maximum(histories.weights, 0))
        filled = np.flatnonzero(histories.counts)
        norms = np.zeros(histories.num_users)
        if len(filled):
            norms[filled] = np.sqrt(np.add.reduceat(raw.astype(np.float64) ** 2, histories.offsets[filled]))
        divisors = np.repeat(np.maximum(norms, np.finfo(np.float32).tiny), histories.counts)
        return np.asarray(raw / divisors, np.float32)


def ages(histories: Events) -> Int64s:
    """Shape (events,): 0 for the last event of its user, 1 for the one before, and so on."""
    after_last = np.repeat(histories.offsets[1:], histories.counts)
    return np.asarray(after_last - 1 - np.arange(len(histories.items)), dtype=np.int64)
