"""The tables `users` and `items`: who was known, what they got, and why some got less."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from recbatch import schemas
from recbatch.contracts import NO_TIME, Bools, Dataset, Events, Int32s, Int64s
from recbatch.score._named import named, rows_of


def user_table(
    data: Dataset,
    *,
    known: Int64s,
    trained_before: int | None,
    recommended: Int64s,
    k: int,
    reasons: pa.Array | None = None,
) -> pa.Table:
    """The table `users`.

    Args:
        data: vocabularies, features and histories.
        known: shape (users,): events on titles that the served model knows.
        trained_before: microseconds since 1970: the model has seen events before; none: there is no model.
        recommended: shape (users,): rows among the first k ranks.
        k: rows promised.
        reasons: shape (users,): why each got fewer, from `shortfall_reasons`; none: the catalogue was too small.

    Returns:
        One row per user in byte order of the id; behind the contract's columns `inhuman` (did more on one day than a
        human can: nothing is learned from them) and the features.
    """
    first, last = _first_and_last(data.events, data.events.offsets)
    hot = (known > 0) & (first < (trained_before if trained_before is not None else NO_TIME))
    if not data.has_times:
        hot = known > 0
    status = np.where(hot, 0, np.where(known > 0, 1, 2))
    short = recommended < k
    columns = {
        "user_id": data.user_ids,
        "interactions": pa.array(data.events.counts),
        "first_at": _timestamps(first),
        "last_at": _timestamps(last),
        "status": pa.array(schemas.STATUSES).take(pa.array(status)),
        "recommended": pa.array(recommended.astype(np.int32)),
        "shortfall_reason": pa.array(np.where(short, "catalogue_exhausted", ""), mask=~short)
        if reasons is None
        else reasons,
    }
    table = pa.table(columns, schema=schemas.arrow(schemas.USERS)).append_column("inhuman", pa.array(data.inhuman))
    return _with_extras(table, data.users)


def item_table(data: Dataset, in_vocabulary: Bools) -> pa.Table:
    """The table `items`, sorted by item id as text; what passed through stands behind the contract's columns."""
    counts = np.bincount(data.events.items, minlength=data.num_items).astype(np.int64)
    first, last = np.full(data.num_items, np.iinfo(np.int64).max), np.full(data.num_items, NO_TIME)
    np.minimum.at(first, data.events.items, data.events.occurred_at)
    np.maximum.at(last, data.events.items, data.events.occurred_at)
    first[counts == 0] = NO_TIME
    genres = (
        data.items["genres"] if "genres" in data.items.column_names else pa.nulls(data.num_items, pa.list_(pa.string()))
    )
    columns = {
        "item_id": data.item_ids,
        "title": data.titles,
        "genres": genres,
        "interactions": pa.array(counts),
        "first_at": _timestamps(first),
        "last_at": _timestamps(last),
        "in_vocabulary": pa.array(in_vocabulary),
    }
    table = _with_extras(pa.table(columns, schema=schemas.arrow(schemas.ITEMS)), data.items)
    return table.sort_by("item_id")


def history_table(data: Dataset, users: slice, length: int) -> pa.Table:
    """Rows of `histories`: the latest distinct titles of some users, latest first.

    Args:
        data: vocabularies and histories.
        users: which users, ascending.
        length: titles per user at most.

    Returns:
        Rows sorted by user and rank; a title done more than once stands at its last time.
    """
    positions = np.arange(*users.indices(data.num_users), dtype=np.int32)
    mine, distinct = _latest(data.events, positions, length)
    latest = np.flatnonzero(distinct)
    user = mine.users_of_events()[latest]
    ends = np.cumsum(np.bincount(user, minlength=mine.num_users))
    rank = ends[user] - np.arange(len(latest))
    kept = rank <= length
    latest, user, rank = latest[kept], user[kept], rank[kept]
    turned = np.empty_like(latest)  # the last of a user comes first
    turned[np.searchsorted(user, user) + rank - 1] = np.arange(len(latest))
    latest, user, rank = latest[turned], user[turned], rank[turned]
    return rows_of(
        schemas.HISTORIES,
        {
            "user_id": named(pa.array(positions[user]), data.user_ids),
            "rank": pa.array(rank.astype(np.int16)),
            "item_id": named(pa.array(mine.items[latest]), data.item_ids),
            "occurred_at": _timestamps(mine.occurred_at[latest]),
        },
    )


def _latest(events: Events, users: Int32s, length: int) -> tuple[Events, Bools]:
    """The last events of users, as many as hold `length` distinct items or all there are.

    And of each, whether it is the last of its user with its item.
    """
    counts = events.counts[users]
    few = np.minimum(counts, 2 * length)
    mine = events.newest_of(users, few)
    last = _last_of_each(mine)
    again = (np.bincount(mine.users_of_events()[last], minlength=len(users)) < length) & (few < counts)
    if not again.any():
        return mine, last
    mine = events.newest_of(users, np.where(again, counts, few))
    return mine, _last_of_each(mine)


def _last_of_each(events: Events) -> Bools:
    """Shape (events,): whether no later event of its user has the same item."""
    keys = events.users_of_events().astype(np.int64) * (int(events.items.max(initial=0)) + 1) + events.items
    last = np.ones(len(keys), dtype=np.bool_)
    ordered = np.sort(keys)  # many times faster than an order of them
    if (ordered[1:] == ordered[:-1]).any():
        order = np.argsort(keys, kind="stable")
        last[order[:-1]] = keys[order[1:]] != keys[order[:-1]]
    return last


def _with_extras(table: pa.Table, source: pa.Table) -> pa.Table:
    for name in source.column_names:
        if name not in table.column_names:
            table = table.append_column(name, source[name])
    return table


def _first_and_last(events: Events, offsets: Int64s) -> tuple[Int64s, Int64s]:
    """Time of each user's first and last event, NO_TIME where there is none; events stand in time order."""
    first = np.full(events.num_users, NO_TIME)
    last = np.full(events.num_users, NO_TIME)
    some = events.counts > 0
    first[some] = events.occurred_at[offsets[:-1][some]]
    last[some] = events.occurred_at[offsets[1:][some] - 1]
    return first, last


def _timestamps(microseconds: Int64s) -> pa.Array:
    return pa.array(microseconds, mask=microseconds == NO_TIME).cast(pa.timestamp("us"))
