"""What is in fashion when training ends, as a correction of the candidates' biases."""

from __future__ import annotations

import numpy as np

from recbatch.contracts import NO_TIME, Events, Float32s

PRIOR_EVENTS = 3_000.0
"""Events' worth of all-time popularity mixed into the recent one: a small data set keeps its biases."""

_DAY_MICROSECONDS = 86_400_000_000


def trend(events: Events, titles: int, half_life_days: float) -> Float32s:
    """Log ratio of each title's recent share of events to its share of all events.

    Training teaches p(title | history) under the all-time popularity p(title). Where only the popularity changes, the
    right scores of today are those plus log p_today(title) / p(title): the prior correction of Saerens, Latinne &
    Decaestecker (2002), "Adjusting the outputs of a classifier to new a priori probabilities", equation 2.4.

    Args:
        events: what was trained on; `items` index the vocabulary. Events without a time count as old.
        titles: size V of the vocabulary.
        half_life_days: an event this much older than the newest one counts half.

    Returns:
        Shape (V,): 0 where a title is as popular as ever, and everywhere if there is no time.
    """
    timed = events.occurred_at != NO_TIME
    if not timed.any():
        return np.zeros(titles, np.float32)
    times = events.occurred_at[timed]
    recent = np.exp2((times - times.max()) / (half_life_days * _DAY_MICROSECONDS))
    ever = np.bincount(events.items, minlength=titles) / len(events.items)
    now = np.bincount(events.items[timed], recent, minlength=titles) + PRIOR_EVENTS * ever
    present = ever > 0
    ratio = np.divide(now / now.sum(), ever, out=np.ones(titles), where=present)
    return np.asarray(np.log(ratio), np.float32)
