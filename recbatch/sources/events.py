"""Interactions as read, to the contract's columns and a fault code per row."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import _columns, _threads
from recbatch.contracts import Bools, Int32s, Int64s
from recbatch.errors import DataError
from recbatch.sources import columns
from recbatch.sources.kept import Kept
from recbatch.sources.ledger import Codes, mark
from recbatch.sources.parts import AnyPart, KeptPart, Part
from recbatch.sources.times import Times, latest_possible, read_times

COLUMNS = ("user_id", "item_id", "occurred_at", "rating", "weight")
_OTHER_NAMES = ("timestamp", "time", "datetime", "date", "day", "dt", "ts", "event_time", "created_at")


@dataclass(frozen=True, slots=True)
class EventRows:
    """Interactions of all parts in order; `codes` is filled in as faults are found."""

    table: pa.Table
    """The columns of `COLUMNS`, ids as dictionaries that all rows share."""
    micros: Int64s
    """Shape (rows,): microseconds since 1970 UTC, 0 where there is no time."""
    untimed: Bools
    """Shape (rows,): no time is given."""
    codes: Codes


def read_events(parts: Sequence[AnyPart], unit: str, today: date, kept: Kept | None = None) -> EventRows:
    """Brings interactions into the contract's columns and marks the rows that are faulty by themselves.

    Args:
        parts: the rows as read.
        unit: of numeric times.
        today: the real date.
        kept: takes the checked rows of parts that have a key; none: nothing is kept.

    Raises:
        DataError: a column is missing or of a wrong type.
    """
    pieces = [_rows_of(part, unit, today, kept) for part in parts]
    if not pieces:
        raise DataError("interactions: no file was read; check the source")
    if len(pieces) == 1:
        return pieces[0]
    return EventRows(
        pa.concat_tables([piece.table for piece in pieces]).unify_dictionaries(),
        np.concatenate([piece.micros for piece in pieces]),
        np.concatenate([piece.untimed for piece in pieces]),
        np.concatenate([piece.codes for piece in pieces]),
    )


def repeats(events: EventRows, user_codes: Int32s, item_codes: Int32s) -> Bools:
    """Which rows say again what an earlier one said: user, item, time, rating and weight are equal.

    Args:
        events: rows with a fault and rows without a time are never repeats.
        user_codes: shape (rows,), one number per user.
        item_codes: shape (rows,), one number per item.
    """

    def keys() -> Iterator[Int32s | Int64s]:
        yield from (user_codes, item_codes, events.micros)
        told = (name for name in COLUMNS[3:] if events.table[name].null_count < len(user_codes))
        yield from (_bits(events, name) for name in told)

    usable = (events.codes == 0) & ~events.untimed
    again: Bools = np.zeros(len(events.codes), np.bool_)
    digests = _digest(keys(), len(user_codes))
    digests.sort()
    twice = np.unique(digests[1:][digests[1:] == digests[:-1]])
    if len(twice) == 0:
        return again
    digests = _digest(keys(), len(user_codes))  # in the order of the rows: a copy would cost most nights more
    suspect = np.flatnonzero(usable & columns.as_bools(pc.is_in(pa.array(digests), value_set=pa.array(twice))))
    exact = np.stack([key[suspect] for key in keys()], axis=1)
    first = np.unique(exact, axis=0, return_index=True)[1]
    again[suspect] = True
    again[suspect[first]] = False
    return again


def _rows_of(part: AnyPart, unit: str, today: date, kept: Kept | None) -> EventRows:
    if isinstance(part, KeptPart):
        if part.latest is not None and part.latest >= latest_possible(today):  # kept when today was later
            return _read_part(Part(part.name, part.table), unit, today)
        times = part.checked["occurred_at"].cast(pa.int64())
        untimed = columns.as_bools(pc.is_null(times))
        return EventRows(part.checked, np.asarray(_columns.filled(times, 0), np.int64), untimed, part.codes.copy())
    piece = _read_part(part, unit, today)
    if kept:
        kept.keep(part, piece.table, piece.codes)
    return piece


def _read_part(part: Part, unit: str, today: date) -> EventRows:
    columns.require(part, ("user_id", "item_id"))
    users, items = columns.encoded_ids(part, "user_id"), columns.encoded_ids(part, "item_id")
    times = _times(part, unit, today)
    codes: Codes = np.zeros(part.table.num_rows, np.int8)
    columns.mark_bad_ids(codes, users, items)
    mark(codes, times.bad, "bad_timestamp")
    mark(codes, times.impossible, "impossible_timestamp")
    arrays = [users, items, pa.array(times.micros, mask=times.missing).cast(pa.timestamp("us"))]
    none = pa.nulls(part.table.num_rows, pa.float32())  # of both columns, in the same memory
    for name in ("rating", "weight"):
        if name not in part.table.column_names:
            arrays.append(none)
            continue
        values, missing, bad = columns.numbers(part, name)
        mark(codes, bad | ((values < 0) if name == "weight" else False), f"bad_{name}")
        arrays.append(pa.array(values, mask=missing))
    return EventRows(pa.table(arrays, names=list(COLUMNS)), times.micros, times.missing, codes)


def _times(part: Part, unit: str, today: date) -> Times:
    have = part.table.column_names
    if "occurred_at" in have:
        return read_times(part, "occurred_at", unit, today)
    near = [name for name in have if name in _OTHER_NAMES] or difflib.get_close_matches("occurred_at", have, 1)
    if near:
        # Without its time an event counts as before every run date: what happened later would leak into the past.
        raise DataError(f"{part.name}: no column occurred_at; rename column {near[0]}, or drop it if it is no time")
    none = np.zeros(part.table.num_rows, np.bool_)
    return Times(np.zeros(part.table.num_rows, np.int64), ~none, none, none)


def _bits(events: EventRows, name: str) -> Int32s:
    """A number per distinct value of a float column, null included."""
    values = np.asarray(_columns.filled(events.table[name], float("nan")), np.float32)
    return (values + np.float32(0)).view(np.int32)  # + 0 makes -0.0 and 0.0 equal


def _digest(keys: Iterable[Int32s | Int64s], rows: int) -> npt.NDArray[np.uint64]:
    """Equal keys, equal digests; unequal keys may collide, which the caller settles."""
    mixed = np.zeros(rows, np.uint64)
    for key in keys:
        _threads.by_rows(functools.partial(_mix, mixed, key), rows)
    return mixed


def _mix(mixed: npt.NDArray[np.uint64], key: Int32s | Int64s, rows: slice) -> None:
    part = mixed[rows]
    part ^= key[rows].astype(np.int64).view(np.uint64)
    part *= np.uint64(0x9E3779B97F4A7C15)
    part ^= part >> np.uint64(29)
