"""The files of rules, row by row: who must not get what, and what comes first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch.contracts import Bools, Exclusions, Int32s
from recbatch.errors import DataError
from recbatch.rules.obeyed import Pins

_LARGEST_RANK = 1_000_000


@dataclass(frozen=True, slots=True)
class Denial:
    """Rows of `rules.deny`, as columns of one length."""

    users: pa.Array
    items: pa.Array
    until: pa.Array
    """date32; null for ever."""

    def on(self, day: date) -> Denial:
        """The rows that hold on a run date: before their `until`."""
        holds = pc.fill_null(pc.greater(self.until, pa.scalar(day, pa.date32())), True)
        return Denial(self.users.filter(holds), self.items.filter(holds), self.until.filter(holds))


@dataclass(frozen=True, slots=True)
class Pin:
    """Rows of `rules.pins`, as columns of one length."""

    items: pa.Array
    segments: pa.Array
    """`feature=value`; null for everybody."""
    ranks: Int32s
    """Order within a list, ties by position of the item."""


def parse_denials(table: pa.Table, name: str) -> Denial:
    """Checks the rows of `rules.deny`.

    Args:
        table: as read, of text or with types.
        name: the file, for messages.

    Raises:
        DataError: a column is missing, an id empty or a date none; names file, row (1 is the first of data) and cure.
    """
    columns = _columns(table, name, ("user_id", "item_id"), ("until",))
    until = _dates(columns["until"], name) if "until" in columns else pa.nulls(table.num_rows, pa.date32())
    return Denial(_ids(columns["user_id"], name, "user_id"), _ids(columns["item_id"], name, "item_id"), until)


def parse_pins(table: pa.Table, name: str) -> Pin:
    """Checks the rows of `rules.pins`; arguments and errors as for `parse_denials`."""
    columns = _columns(table, name, ("item_id",), ("segment", "rank"))
    segments = (
        _text(columns["segment"], name, "segment") if "segment" in columns else pa.nulls(table.num_rows, pa.string())
    )
    for row, segment in enumerate(segments.to_pylist(), 1):
        if segment is not None and not all(segment.partition("=")[::2]):
            raise DataError(f"{name} row {row}: segment {segment!r}: expected feature=value, e.g. gender=F, or nothing")
    ranks = np.arange(1, table.num_rows + 1, dtype=np.int32)
    if "rank" in columns:
        ranks = _ranks(columns["rank"], name)
    return Pin(_ids(columns["item_id"], name, "item_id"), segments, ranks)


def denied(denial: Denial, user_ids: pa.Array, item_ids: pa.Array, item_of_id: Int32s) -> Exclusions:
    """Denials by position; rows on users or items that are not there forbid nothing.

    Args:
        denial: rows that hold tonight.
        user_ids: shape (users,): position → id.
        item_ids: ids by which an item may be called.
        item_of_id: shape (item_ids,): item position of each.

    Returns:
        One row per user.
    """
    users = np.asarray(pc.fill_null(pc.index_in(denial.users, value_set=user_ids), -1), dtype=np.int64)
    items = _positions(denial.items, item_ids, item_of_id).astype(np.int64)
    there = (users >= 0) & (items >= 0)
    width = int(item_of_id.max(initial=0)) + 1
    keys = np.unique(users[there] * width + items[there])
    offsets = np.searchsorted(keys, np.arange(len(user_ids) + 1, dtype=np.int64) * width)
    return Exclusions(offsets.astype(np.int64), (keys % width).astype(np.int32))


def pinned(pin: Pin, users: pa.Table, item_ids: pa.Array, item_of_id: Int32s, name: str) -> Pins | None:
    """Pins by position; titles that are not there are left out.

    Args:
        pin: the rows.
        users: features, in position order.
        item_ids: ids by which an item may be called.
        item_of_id: shape (item_ids,): item position of each.
        name: the file, for messages.

    Returns:
        None where no pinned title is there.

    Raises:
        DataError: a segment names no feature of users.
    """
    items = _positions(pin.items, item_ids, item_of_id)
    names = sorted({segment for segment in pin.segments.to_pylist() if segment is not None})
    members = np.ones((len(names) + 1, users.num_rows), dtype=np.bool_)
    for number, segment in enumerate(names, 1):
        members[number] = _members(segment, users, pin, name)
    segment = np.array([names.index(s) + 1 if s is not None else 0 for s in pin.segments.to_pylist()], dtype=np.int32)
    order = np.lexsort((items, pin.ranks))
    order = order[items[order] >= 0]
    return Pins(items[order], segment[order], members) if len(order) else None


def _members(segment: str, users: pa.Table, pin: Pin, name: str) -> Bools:
    feature, _, value = segment.partition("=")
    if feature not in users.column_names or feature == "user_id":
        row = pin.segments.to_pylist().index(segment) + 1
        known = ", ".join(column for column in users.column_names if column != "user_id") or "none"
        raise DataError(f"{name} row {row}: segment {segment!r}: no user feature {feature!r}; this source has: {known}")
    same = pc.equal(users[feature].combine_chunks().cast(pa.string()), value)
    return np.asarray(pc.fill_null(same, False), dtype=np.bool_)


def _positions(ids: pa.Array, item_ids: pa.Array, item_of_id: Int32s) -> Int32s:
    found = np.asarray(pc.fill_null(pc.index_in(ids, value_set=item_ids), -1), dtype=np.int64)
    return np.where(found >= 0, item_of_id[found], -1).astype(np.int32) if len(item_of_id) else found.astype(np.int32)


def _columns(table: pa.Table, name: str, needed: tuple[str, ...], optional: tuple[str, ...]) -> dict[str, pa.Array]:
    have = table.column_names
    wanted = ", ".join(needed) + f" and optionally {', '.join(optional)}"
    for column in needed:
        if column not in have:
            raise DataError(f"{name}: no column {column}; it has {', '.join(have) or 'none'}, expected {wanted}")
    for column in have:
        if column not in (*needed, *optional) or have.count(column) > 1:
            raise DataError(f"{name}: column {column} is unknown or doubled; expected {wanted}")
    return {column: table[column].combine_chunks() for column in have}


def _text(values: pa.Array, name: str, column: str) -> pa.Array:
    """As text without blanks around it; null where nothing is left."""
    try:
        values = pc.utf8_trim_whitespace(values.cast(pa.string()))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{name}: column {column} is {values.type}; write it as text") from error
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values)


def _ids(values: pa.Array, name: str, column: str) -> pa.Array:
    if pa.types.is_floating(values.type):
        raise DataError(f"{name}: column {column} is {values.type}; write the ids as text")
    found = _text(values, name, column)
    empty = np.flatnonzero(np.asarray(pc.is_null(found), dtype=np.bool_))
    if len(empty):
        raise DataError(f"{name} row {empty[0] + 1}: {column} is empty; fill it in or remove the row")
    return found


def _dates(values: pa.Array, name: str) -> pa.Array:
    if pa.types.is_date(values.type) or pa.types.is_timestamp(values.type):
        return values.cast(pa.date32(), safe=False)
    days: list[date | None] = []
    for row, text in enumerate(_text(values, name, "until").to_pylist(), 1):
        try:
            days.append(None if text is None else datetime.strptime(text, "%Y-%m-%d").date())  # noqa: DTZ007
        except ValueError as error:
            raise DataError(
                f"{name} row {row}: until {text!r}: expected a date such as 2026-01-31, or nothing"
            ) from error
    return pa.array(days, pa.date32())


def _ranks(values: pa.Array, name: str) -> Int32s:
    ranks = []
    for row, text in enumerate(_text(values, name, "rank").to_pylist(), 1):
        if text is None or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _LARGEST_RANK:
            raise DataError(f"{name} row {row}: rank {text!r}: expected a whole number from 1 to {_LARGEST_RANK}")
        ranks.append(int(text))
    return np.array(ranks, dtype=np.int32)
