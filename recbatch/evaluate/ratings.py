"""How far predicted ratings lie from what judged users went on to give."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recbatch import metrics
from recbatch.config import Judge
from recbatch.contracts import Events, Float32s, Float64s, Metric


def rating_metrics(
    predicted: Mapping[str, Float32s], held_out: Events, settings: Judge, *, protocol: str, seed: int
) -> tuple[Metric, ...]:
    """The root mean squared error of each contender, over all events, with an interval over users.

    Args:
        predicted: contender → shape (events,).
        held_out: events that carry a rating, at least one.
        settings: samples of the bootstrap.
        protocol: how the events were held out.
        seed: of the bootstrap; all contenders share the resamples.

    Returns:
        One row per contender: metric `rmse`, k 0, segment `all`.
    """
    judged = np.flatnonzero(held_out.counts)
    users, counts = held_out.users_of_events(), held_out.counts[judged].astype(np.float64)
    rows = []
    for source, values in predicted.items():
        errors: Float64s = (values.astype(np.float64) - held_out.ratings) ** 2
        squares = np.asarray(np.bincount(users, errors, minlength=held_out.num_users), np.float64)[judged]
        value = metrics.rmse(squares, counts)
        low, high = metrics.rmse_interval(squares, counts, settings.bootstrap_samples, seed)
        row = Metric("rmse", 0, "all", source, protocol, value, min(low, value), max(high, value), len(judged))
        rows.append(row)
    return tuple(rows)
