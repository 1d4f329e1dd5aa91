"""Popularity: what unknown users get, and what fills a list that the model cannot fill."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import schemas
from recbatch.config import Popular as Settings
from recbatch.contracts import DAY_MICROSECONDS, NO_TIME, Bools, Dataset, Events, Float32s, Int32s, Popular
from recbatch.errors import ConfigError
from recbatch.rules import Caps
from recbatch.score.trend import tomorrow


def by_popularity(data: Dataset, events: Events, until: date, settings: Settings) -> Popular:
    """Orders all candidates by their expected share of the events of the day `until`, overall and within segments.

    Overall by `trend.tomorrow`. Within a segment by the events of its users, halved every `half_life_days`, with
    `settings.prior_events` events' worth of the overall shares mixed in, so that a small segment stays sensible.

    Args:
        data: vocabularies and user features.
        events: what counts; all before `until`.
        until: the day to look forward to.
        settings: the user features that get lists of their own, and how they are weighed.

    Returns:
        The overall order and one per segment, ties by position.

    Raises:
        ConfigError: a segment names a user feature that the source does not have.
    """
    events = data.counted(events)
    segments, segment_of_user = _segments(data, settings.segments)
    overall = tomorrow(events, data.num_items, until, settings.overall_half_life_days)
    shares = [overall]
    if len(segments) > 1:
        now = int(np.datetime64(until, "us").astype(np.int64))
        age_days = np.where(events.occurred_at == NO_TIME, 0, now - events.occurred_at) / DAY_MICROSECONDS
        counts = events.weights * 2.0 ** (-age_days / settings.half_life_days)
        segment_of_event = segment_of_user[events.users_of_events()]
    for number in range(1, len(segments)):
        mine = segment_of_event == number
        own = np.bincount(events.items[mine], weights=counts[mine], minlength=data.num_items)
        mixed = own + settings.prior_events * overall
        shares.append((mixed / mixed.sum()).astype(np.float32))
    order = np.stack([np.lexsort((np.arange(data.num_items), -share)) for share in shares]).astype(np.int32)
    return Popular(segments, order, np.take_along_axis(np.stack(shares), order, axis=1), segment_of_user, overall)


def _segments(data: Dataset, features: tuple[str, ...]) -> tuple[tuple[str, ...], Int32s]:
    """Names of all segments, and each user's: the last declared feature that is known of them."""
    names, segment_of_user = ["all"], np.zeros(data.num_users, dtype=np.int32)
    for feature in features:
        if feature not in data.users.column_names or feature == "user_id":
            known = ", ".join(data.users.column_names[1:]) or "none"
            raise ConfigError(f"popular.segments: no user feature {feature!r} in this source; it has: {known}")
        values = data.users[feature].combine_chunks().cast(pa.string())
        distinct = pc.unique(values.drop_null()).sort()
        code = np.asarray(pc.fill_null(pc.index_in(values, value_set=distinct), -1), dtype=np.int32)
        segment_of_user = np.where(code >= 0, code + len(names), segment_of_user).astype(np.int32)
        names += [f"{feature}={value}" for value in distinct.to_pylist()]
    return tuple(names), segment_of_user


def only(popular: Popular, eligible: Bools | None) -> Popular:
    """The same orders without the titles that may not be recommended; `shares` keeps them.

    Args:
        popular: every title.
        eligible: shape (items,); none: all of them.
    """
    if eligible is None:
        return popular
    kept = eligible[popular.order]
    shape = (len(popular.order), int(eligible.sum()))
    return replace(popular, order=popular.order[kept].reshape(shape), scores=popular.scores[kept].reshape(shape))


def popular_table(popular: Popular, data: Dataset, length: int, caps: Caps | None = None) -> pa.Table:
    """The table `popular`: the first `length` titles of every segment, of those that fit into the caps together."""
    length = min(length, popular.order.shape[1])
    by_name = np.array(sorted(range(len(popular.segments)), key=lambda number: popular.segments[number]))
    order, taken = popular.order[by_name], np.arange(popular.order.shape[1]) < np.full((len(by_name), 1), length)
    if caps is not None:
        taken = caps.choose(order, caps.nothing(len(by_name)), np.full(len(by_name), length, dtype=np.int64))
    positions = pa.array(order[taken])
    scores: Float32s = popular.scores[by_name][taken]
    names = pa.array([popular.segments[number] for number in by_name])
    return pa.table(
        {
            "segment": names.take(pa.array(np.nonzero(taken)[0])),
            "rank": pa.array(np.cumsum(taken, axis=1)[taken].astype(np.int16)),
            "item_id": data.item_ids.take(positions),
            "title": data.titles.take(positions),
            "score": pa.array(scores),
        },
        schema=schemas.arrow(schemas.POPULAR),
    )
