"""How much each event of a history counts in its user's query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recbatch.contracts import Events, Float32s, Int64s

Float64s = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class History:
    """How a history is read: how fast it fades and how far back it goes."""

    half_life_events: float
    """An event this many events before the last one counts half; infinity: all count alike."""
    max_history: int
    """Only this many last events count."""

    def strengths(self, age: Int64s, weights: Float32s) -> Float32s:
        """What events count before division by their user's norm.

        Args:
            age: shape (n,), 0 is the newest event of its user.
            weights: shape (n,), `Events.weights`.

        Returns:
            Shape (n,): 2^(-age / half_life_events) · log2(1 + weight), so 1 for the newest event of a source without
            weights; 0 from max_history on and for weights of 0 and below.
        """
        return self._faded(age, _loudness(weights))

    def _faded(self, age: Int64s, loudness: Float32s) -> Float32s:
        faded = np.exp2(-np.arange(int(age.max(initial=0)) + 1) / self.half_life_events)  # 1 for an infinite half-life
        faded[self.max_history :] = 0
        return np.asarray(faded[age] * loudness, np.float32)


def event_weights(readings: Sequence[History], histories: Events) -> Float32s:
    """The weight of every event: its strength, divided by the Euclidean norm over its user's events.

    Returns:
        Shape (readings, events). A user's weights depend on that user's events only, to the last bit.
    """
    age, loudness = _ages(histories), _loudness(histories.weights)
    found = np.empty((len(readings), len(age)), np.float32)
    filled = np.flatnonzero(histories.counts)  # reduceat takes an empty span for one of length 1
    for number, reading in enumerate(readings):
        raw, norms = reading._faded(age, loudness), np.zeros(histories.num_users)
        if len(filled):
            norms[filled] = np.sqrt(np.add.reduceat(raw.astype(np.float64) ** 2, histories.offsets[filled]))
        found[number] = divided(raw, np.repeat(norms, histories.counts))
    return found


def divided(strengths: Float32s, norms: Float64s) -> Float32s:
    """Strengths over norms, 0 where a norm is 0."""
    return np.asarray(strengths / np.maximum(norms, np.finfo(np.float32).tiny), np.float32)


def _loudness(weights: Float32s) -> Float32s:
    return np.asarray(np.log2(1 + np.maximum(weights, 0)))


def _ages(histories: Events) -> Int64s:
    """Shape (events,): 0 for the last event of its user, 1 for the one before, and so on."""
    after_last = np.repeat(histories.offsets[1:], histories.counts)
    return np.asarray(after_last - 1 - np.arange(len(histories.items)), dtype=np.int64)
