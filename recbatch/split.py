"""Which events a judged model may learn from, and which it is judged on. Rows are conserved, inputs unchanged."""

from __future__ import annotations

import zlib
from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from recbatch.config import Judge
from recbatch.contracts import DAY_MICROSECONDS, NO_TIME, Dataset, Events, Split


def microseconds(day: date) -> int:
    """Microseconds from 1970 to the first instant of a day, UTC."""
    return int(datetime.combine(day, time(), UTC).timestamp()) * 1_000_000


def by_time(data: Dataset, settings: Judge, *, not_before: date | None = None) -> Split:
    """Holds out the latest days: train `< D - h`, test in [D - h, D).

    h is the fewest days that hold `settings.users_wanted` users, at most `settings.max_days`. Where no event has a
    time, a fifth of the (user, item) pairs is held out by their hash instead (`by_hash`).

    Args:
        data: the night's dataset; D is its run date.
        settings: how many users and days.
        not_before: the parent's D - h: the boundary never moves backwards, so that no judged model is judged on what
            it has seen.

    Returns:
        The split; its protocol is `time:<h>d`.
    """
    if not data.has_times:
        return by_hash(data, share=0.2)
    events, run_date = data.events, data.run_date
    active = np.flatnonzero(events.counts)
    last_event = events.occurred_at[events.offsets[active + 1] - 1]
    age = (microseconds(run_date) - 1 - last_event[last_event != NO_TIME]) // DAY_MICROSECONDS
    age = np.sort(age[age < settings.max_days])
    wanted = settings.users_wanted
    days = int(age[wanted - 1]) + 1 if len(age) >= wanted else settings.max_days
    boundary = run_date - timedelta(days=days)
    if not_before is not None and boundary < not_before < run_date:
        boundary = not_before
    train = events.occurred_at < microseconds(boundary)
    return Split(
        train=events.where(train),
        test=events.where(~train),
        protocol=f"time:{(run_date - boundary).days}d",
        judge_from=datetime.combine(boundary, time()),
        judge_until=datetime.combine(run_date, time()),
    )


def by_hash(data: Dataset, *, share: float) -> Split:
    """Holds out the (user, item) pairs whose ids hash below a share of the range: the same ones every night.

    For events without times: a pair once held out stays held out as data grows, so a stored model is never judged on
    what it has seen.
    """
    users, items = (
        np.fromiter((zlib.crc32(text.encode()) for text in ids.to_pylist()), dtype=np.uint64, count=len(ids))
        for ids in (data.user_ids, data.item_ids)
    )
    mixed = (users[data.events.users_of_events()] << np.uint64(32)) ^ items[data.events.items]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # SplitMix64's finaliser (Steele 2014)
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    train = (mixed >> np.uint64(32)) >= share * 2**32
    return Split(data.events.where(train), data.events.where(~train), f"hash:{share:g}", None, None)


def at_random(events: Events, *, share: float, seed: int) -> Split:
    """Holds out a random share of all events (protocol R): the number held out is exactly floor(share * events)."""
    total = len(events.items)
    train = np.ones(total, dtype=np.bool_)
    train[np.random.default_rng(seed).permutation(total)[: int(share * total)]] = False
    return Split(events.where(train), events.where(~train), f"random:{share:g}", None, None)


def per_user(events: Events, *, share: float) -> Split:
    """The first round(share * n) events of each user train, the rest is held out (protocol U)."""
    kept = np.rint(share * events.counts).astype(np.int64)
    position = np.arange(len(events.items)) - np.repeat(events.offsets[:-1], events.counts)
    train = position < np.repeat(kept, events.counts)
    return Split(events.where(train), events.where(~train), f"per_user:{share:g}", None, None)
