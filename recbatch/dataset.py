"""From clean tables to one night's dataset: merged titles, one vocabulary each for users and items, events as rows.

This module owns the mapping from ids to positions; nobody else makes one.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import date
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import _columns, _compiling, _ids, _ordering, _threads, store
from recbatch.config import Data
from recbatch.contracts import (
    DAY_MICROSECONDS,
    NO_TIME,
    SECOND_MICROSECONDS,
    Bools,
    Dataset,
    Events,
    Float32s,
    Int32s,
    Int64s,
    SourceTables,
    constant,
)
from recbatch.errors import DataError

_HASHED_AT_ONCE = 1 << 20
_SORT_OPERATIONS = 1_000
"""What compiling may save for each event, in multiplications."""


def build(tables: SourceTables, settings: Data, run_date: date, *, merge_by_title: bool | None = None) -> Dataset:
    """Encodes a night's tables.

    Args:
        tables: clean input, events on or after the run date already cut.
        settings: which events count.
        run_date: the date D of the night.
        merge_by_title: whether items of one title are one candidate; none: what the source recommends.

    Returns:
        The dataset, users in byte order, items in the order (length of id, id), events by user and time, ties in
        input order. Inputs are not changed.

    Raises:
        DataError: nothing is left to recommend or to learn from.
    """
    counts: dict[str, int] = {}
    interactions, items = tables.interactions, tables.items
    if settings.min_rating is not None:
        kept = interactions.filter(pc.greater_equal(interactions["rating"], settings.min_rating))
        counts["below_min_rating"] = interactions.num_rows - kept.num_rows
        interactions = kept
    merge = tables.merge_by_title if merge_by_title is None else merge_by_title
    (items, item_ids, item_of_event), (users, user_ids, user_of_event) = _threads.both(
        lambda: _encode_items(items, interactions, merge, counts), lambda: _encode_users(tables.users, interactions)
    )
    if interactions.num_rows == 0 or len(item_ids) == 0:
        raise DataError(
            f"no event before {run_date} on any item is left of {tables.interactions.num_rows} read;"
            " check --run-date and dataset.min_rating"
        )
    events = _events(interactions, user_of_event, item_of_event, len(user_ids))
    inhuman = _inhuman(events, settings.max_events_per_day)
    return Dataset(
        run_date=run_date,
        user_ids=user_ids,
        item_ids=item_ids,
        titles=items["title"].combine_chunks(),
        items=items,
        users=users,
        events=events,
        has_times=bool((events.occurred_at != NO_TIME).any()),
        inhuman=inhuman,
        fingerprint=_fingerprint(users, items, events),
        counts=counts | ({"inhuman_users": int(inhuman.sum())} if inhuman.any() else {}),
    )


def without_users(tables: SourceTables, forgotten: frozenset[str]) -> SourceTables:
    """The tables without the events, attributes and quarantined rows of forgotten users.

    Args:
        tables: clean input; not changed.
        forgotten: hex sha256 of their ids.

    Returns:
        The rest; `counts` says how many events went under `forgotten`.
    """
    if not forgotten:
        return tables

    def without(table: pa.Table) -> pa.Table:
        names = [name for name in _ids.present(table["user_id"]).to_pylist() if store.sha256_text(name) in forgotten]
        return table.filter(pa.array(~_ids.are_in(table["user_id"], pa.array(names, pa.string()))))

    interactions, users = without(tables.interactions), without(tables.users)
    named = [_names_any(content, forgotten) for content in tables.quarantine["content"].to_pylist()]
    quarantine = tables.quarantine.filter(pc.invert(pa.array(named, pa.bool_())))
    gone = tables.interactions.num_rows - interactions.num_rows
    counts = tables.counts | ({"forgotten": gone} if gone else {})
    return replace(tables, interactions=interactions, users=users, quarantine=quarantine, counts=counts)


def without_items(tables: SourceTables, gone: pa.StringArray) -> SourceTables:
    """The tables without the events on some items, which stay listed.

    Args:
        tables: clean input; not changed.
        gone: their ids.
    """
    kept = pa.array(~_ids.are_in(tables.interactions["item_id"], gone))
    return replace(tables, interactions=tables.interactions.filter(kept))


def _names_any(content: str | None, forgotten: frozenset[str]) -> bool:
    values = json.loads(content or "{}")
    return any(store.sha256_text(str(value).strip()) in forgotten for key, value in values.items() if key != "item_id")


def _encode_items(
    items: pa.Table, interactions: pa.Table, merge: bool, counts: dict[str, int]
) -> tuple[pa.Table, pa.StringArray, Int32s]:
    """Items in position order, their ids, and the item position of each interaction."""
    by_length = pa.table({"length": pc.utf8_length(items["item_id"]), "id": items["item_id"]})
    items = items.take(pc.sort_indices(by_length, sort_keys=[("length", "ascending"), ("id", "ascending")]))
    every_id = items["item_id"].combine_chunks()
    event_rows = _ids.positions(interactions["item_id"], every_id)
    if not merge:
        return items, every_id, event_rows
    codes = np.asarray(pc.dictionary_encode(items["title"].combine_chunks()).indices)
    # Rows stand in id order, so the first row of a title carries its smallest id.
    _, first_row, title_of_row = np.unique(codes, return_index=True, return_inverse=True)
    keep = np.sort(first_row)
    counts["titles_merged"] = len(codes) - len(keep)
    new_row = np.searchsorted(keep, first_row[title_of_row]).astype(np.int32)
    items = items.take(pa.array(keep))
    return items, items["item_id"].combine_chunks(), new_row[event_rows]


def _encode_users(listed: pa.Table, interactions: pa.Table) -> tuple[pa.Table, pa.StringArray, Int32s]:
    """Users of either table in byte order, their ids, and the user position of each interaction.

    Features are null where the source did not list a user.
    """
    active = _ids.present(interactions["user_id"])
    known = listed["user_id"].combine_chunks().cast(pa.string())
    user_ids = pc.unique(pa.concat_arrays([known, active]))
    user_ids = user_ids.take(pc.sort_indices(user_ids))
    row_of_user = pc.index_in(user_ids, value_set=known)
    features = listed.drop_columns(["user_id"])
    columns = {name: features[name].combine_chunks().take(row_of_user) for name in features.column_names}
    return pa.table({"user_id": user_ids, **columns}), user_ids, _ids.positions(interactions["user_id"], user_ids)


def _events(interactions: pa.Table, users: Int32s, items: Int32s, num_users: int) -> Events:
    times = np.asarray(_columns.filled(interactions["occurred_at"].cast(pa.int64()), int(NO_TIME)), dtype=np.int64)
    compiled = _compiling.is_due(_SORT_OPERATIONS * len(times))
    counts = _ordering.counts(users, num_users) if compiled else np.bincount(users, minlength=num_users)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    order = (_ordering.by_user_and_time if compiled else _by_user_and_time)(users, times, offsets)

    def in_order(name: str, default: float) -> Float32s:
        column = interactions[name]
        if column.null_count == len(column):
            return constant(default, len(column))
        return np.asarray(_columns.filled(column, default), dtype=np.float32)[order]

    (items, weights), (times, ratings) = _threads.both(
        lambda: (items[order], in_order("weight", 1.0)), lambda: (times[order], in_order("rating", float("nan")))
    )
    return Events(offsets, items, times, weights, ratings)


def _by_user_and_time(users: Int32s, times: Int64s, offsets: Int64s) -> Int64s:
    """Shape (events,): their order by user and time; equal times keep their input order.

    One key for both where it fits into 63 bits: a stable sort of it takes a tenth of a `lexsort` where the input is
    ordered by user, and half of it elsewhere. `_ordering` takes half of that again.
    """
    latest = int(times.max(initial=NO_TIME))
    first = min(latest, int(times.min(where=times != NO_TIME, initial=latest)))
    finer: list[bool] = []  # than a second

    def look(rows: slice) -> None:
        finer.append(bool(((np.maximum(times[rows], first) - first) % SECOND_MICROSECONDS).any()))

    _threads.by_rows(look, len(times))
    unit = 1 if any(finer) else SECOND_MICROSECONDS  # most sources know no finer times
    span = (latest - first) // unit + 2
    if (int(users.max(initial=0)) + 1) * span >= 2**63:
        return np.lexsort((times, users))
    keys = np.empty(len(times), np.int64)

    def put(rows: slice) -> None:
        since = (np.maximum(times[rows], first) - first) // unit + 1
        keys[rows] = users[rows] * np.int64(span) + np.where(times[rows] == NO_TIME, 0, since)

    _threads.by_rows(put, len(times))
    return _sorted(keys, users, offsets)


def _sorted(keys: Int64s, users: Int32s, offsets: Int64s) -> Int64s:
    """The stable order of keys that ascend with the user: each core sorts some users' events."""
    order = np.empty(len(keys), np.int64)

    def sort(first: int, end: int) -> None:
        mine = np.flatnonzero((users >= first) & (users < end))
        order[offsets[first] : offsets[end]] = mine[np.argsort(keys[mine], kind="stable")]

    _threads.run([partial(sort, *share) for share in _ordering.shares(offsets)])
    return order


def _inhuman(events: Events, most_per_day: int) -> Bools:
    """Shape (users,): who did more on one day; events without a time count as one day."""
    suspects = np.flatnonzero(events.counts > most_per_day)
    found = np.zeros(events.num_users, np.bool_)
    for user in suspects:  # few: each has thousands of events
        days = events.occurred_at[events.offsets[user] : events.offsets[user + 1]] // DAY_MICROSECONDS
        found[user] = np.unique(days, return_counts=True)[1].max() > most_per_day
    return found


def _fingerprint(users: pa.Table, items: pa.Table, events: Events) -> str:
    digest = hashlib.sha256()
    for table in (users, items):
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema.remove_metadata()) as writer:
            writer.write_table(table.replace_schema_metadata(None).combine_chunks())
        digest.update(sink.getvalue())
    for array in (events.offsets, events.items, events.occurred_at, events.weights, events.ratings):
        for start in range(0, len(array), _HASHED_AT_ONCE):
            digest.update(np.ascontiguousarray(array[start : start + _HASHED_AT_ONCE]).data)
    return digest.hexdigest()
