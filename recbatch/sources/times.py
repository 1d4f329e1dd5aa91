"""Times of events: whatever unit, zone or spelling a file uses, to microseconds since 1970 UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import _columns, _threads
from recbatch.contracts import DAY_MICROSECONDS, SECOND_MICROSECONDS, Bools, Int64s
from recbatch.errors import DataError
from recbatch.sources.parts import Part

PER_SECOND = {"s": 1, "ms": 1_000, "us": SECOND_MICROSECONDS, "ns": 1_000_000_000}
_UNITS = ("s", "ms", "us")
_YEAR_1990, _YEAR_2200 = 631_152_000, 7_258_118_400  # seconds since 1970
_FIVE_YEARS = 5 * 365 * 86_400
_EARLIEST = date(1900, 1, 1)
_NUMBER = r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$"
_ISO = (
    r"^(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})"
    r"(?:[T ](?P<hour>\d{2})(?::?(?P<minute>\d{2})(?::?(?P<second>\d{2})(?:\.(?P<fraction>\d+))?)?)?"
    r"(?:Z|(?P<sign>[+-])(?P<zone_hour>\d{2}):?(?P<zone_minute>\d{2})?)?)?$"
)


@dataclass(frozen=True, slots=True)
class Times:
    """Times of the rows of a part; all shapes (rows,)."""

    micros: Int64s
    """Microseconds since 1970 UTC, 0 where there is none."""
    missing: Bools
    """No time is given."""
    bad: Bools
    """Something is given that is no time."""
    impossible: Bools
    """A time before 1900 or more than one day after today."""

    def __post_init__(self) -> None:
        self.micros[self.missing | self.bad | self.impossible] = 0


def micros_of(day: date) -> int:
    """Microseconds from 1970 to the first instant of a day, UTC."""
    return (day - date(1970, 1, 1)).days * DAY_MICROSECONDS


def read_times(part: Part, name: str, unit: str, today: date) -> Times:
    """The times of a part's rows.

    Args:
        part: the rows.
        name: the column: timestamps of any unit and zone, dates, ISO 8601 text, or numbers (also as text).
        unit: what numbers count since 1970 UTC: s, ms or us.
        today: the real date; later times than the day after it are impossible.

    Returns:
        Times in the order of the rows. A time without a zone is UTC.

    Raises:
        DataError: the column is of a type that holds no times, or its numbers are plainly in another unit.
    """
    column = part.table[name]
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind):
        return _from_text(part, name, column.cast(pa.string()), unit, today)
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("s")), pa.timestamp("s")
    missing = np.asarray(pc.is_null(column))
    if pa.types.is_timestamp(kind):
        ticks = np.asarray(_columns.filled(column.cast(pa.int64()), 0), np.int64)
        return _from_ticks(ticks, missing, kind.unit, today)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = np.asarray(pc.fill_null(column.cast(pa.float64(), safe=False), 0), np.float64)
        _require_unit(part, name, values[~missing], unit)
        return _from_numbers(values, missing, unit, today)
    raise DataError(
        f"{part.name} row 1: column {name} is {kind}, expected a timestamp, ISO 8601 text or a number since 1970;"
        " convert the column"
    )


def _from_ticks(ticks: Int64s, missing: Bools, unit: str, today: date) -> Times:
    earliest, latest = _limits(today)
    per_second = PER_SECOND[unit]
    finer = per_second > SECOND_MICROSECONDS
    micros = ticks if ticks.flags.writeable else np.empty(len(ticks), np.int64)  # a copy of ours serves for both
    impossible = np.empty(len(ticks), np.bool_)

    def convert(rows: slice) -> None:
        # Compared in the column's own unit: turning an absurd number of seconds into microseconds would overflow.
        mine = ticks[rows]
        impossible[rows] = (mine < earliest * per_second) | (mine >= latest * per_second)
        mine = np.where(impossible[rows], 0, mine)
        micros[rows] = (
            mine // (per_second // SECOND_MICROSECONDS) if finer else mine * (SECOND_MICROSECONDS // per_second)
        )

    _threads.by_rows(convert, len(ticks))
    return Times(micros, missing, np.zeros_like(missing), impossible & ~missing)


def _from_numbers(values: npt.NDArray[np.float64], missing: Bools, unit: str, today: date) -> Times:
    bad = ~np.isfinite(values) & ~missing
    seconds = np.where(bad, 0, values) / PER_SECOND[unit]
    earliest, latest = _limits(today)
    impossible = ((seconds < earliest) | (seconds >= latest)) & ~missing
    # Microseconds until the year 2200 are below 2**53, so whole ticks survive the float.
    ticks = np.where(impossible | bad, 0, values) * (SECOND_MICROSECONDS // PER_SECOND[unit])
    micros = np.rint(ticks).astype(np.int64)
    return Times(micros, missing, bad, impossible)


def _from_text(part: Part, name: str, column: pa.ChunkedArray, unit: str, today: date) -> Times:
    column = pc.utf8_trim_whitespace(column)
    missing = np.asarray(pc.or_(pc.is_null(column), pc.fill_null(pc.equal(column, ""), True)), np.bool_)
    numeric = np.asarray(pc.fill_null(pc.match_substring_regex(column, _NUMBER), False), np.bool_)
    digits = pc.replace_substring_regex(pc.if_else(pa.array(numeric), column, None), r"^\+", "")
    values = np.asarray(pc.fill_null(digits.cast(pa.float64()), 0), np.float64)
    _require_unit(part, name, values[numeric], unit)
    counted = _from_numbers(values, ~numeric, unit, today)
    spelled = _from_iso(pc.if_else(pa.array(missing | numeric), None, column), today)
    return Times(
        np.where(numeric, counted.micros, spelled.micros),
        missing,
        np.where(numeric, counted.bad, spelled.bad) & ~missing,
        np.where(numeric, counted.impossible, spelled.impossible) & ~missing,
    )


def _from_iso(column: pa.ChunkedArray, today: date) -> Times:
    missing = np.asarray(pc.is_null(column))
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:  # the whole column in one spelling: the quick way
            ticks = np.asarray(pc.fill_null(column.cast(kind).cast(pa.int64()), 0), np.int64)
        except pa.ArrowInvalid:
            continue
        return _from_ticks(ticks, missing, "us", today)
    found = pc.extract_regex(column, _ISO)
    bad = np.asarray(pc.is_null(found)) & ~missing
    micros, broken = _instant({name: _digits(found, name) for name in _FIELDS}, _field(found, "sign"))
    times = _from_ticks(micros, missing | bad, "us", today)
    return Times(times.micros, missing, bad | (broken & ~missing), times.impossible & ~broken)


_FIELDS = ("year", "month", "day", "hour", "minute", "second", "fraction", "zone_hour", "zone_minute")


def _field(found: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.struct_field(found, name), "")


def _digits(found: pa.ChunkedArray, name: str) -> Int64s:
    field = _field(found, name)
    if name == "fraction":
        field = pc.utf8_slice_codeunits(pc.utf8_rpad(field, 6, "0"), 0, 6)
    return np.asarray(pc.if_else(pc.equal(field, ""), "0", field).cast(pa.int64()), np.int64)


def _instant(fields: dict[str, Int64s], sign: pa.ChunkedArray) -> tuple[Int64s, Bools]:
    """Microseconds since 1970 UTC, and which rows name no instant (30 February, 25 o'clock)."""
    in_year = (fields["month"] >= 1) & (fields["month"] <= 12)
    months = ((fields["year"] - 1970) * 12 + np.where(in_year, fields["month"], 1) - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    length = (months + 1).astype("datetime64[D]").astype(np.int64) - first
    zone = (fields["zone_hour"] * 60 + fields["zone_minute"]) * np.where(np.asarray(pc.equal(sign, "-")), -1, 1)
    seconds = ((first + fields["day"] - 1) * 24 + fields["hour"]) * 3600 + (fields["minute"] - zone) * 60
    broken = ~in_year | (fields["day"] < 1) | (fields["day"] > length)
    broken |= (fields["hour"] > 23) | (fields["minute"] > 59) | (fields["second"] > 59)
    return (seconds + fields["second"]) * SECOND_MICROSECONDS + fields["fraction"], broken


def latest_possible(today: date) -> int:
    """Microseconds since 1970 UTC from which on a time is impossible."""
    return micros_of(today + timedelta(days=2))


def _limits(today: date) -> tuple[int, int]:
    """Seconds since 1970 between which a time is possible, the end excluded."""
    earliest, latest = micros_of(_EARLIEST), latest_possible(today)
    return earliest // SECOND_MICROSECONDS, latest // SECOND_MICROSECONDS


def _require_unit(part: Part, name: str, values: npt.NDArray[np.float64], unit: str) -> None:
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return
    middle = float(np.median(values))
    if middle / PER_SECOND[unit] > _YEAR_2200:
        finer = [u for u in PER_SECOND if _YEAR_1990 <= middle / PER_SECOND[u] <= _YEAR_2200]
    elif unit != "s" and 0 < middle / PER_SECOND[unit] < _FIVE_YEARS:
        finer = [u for u in _UNITS if _YEAR_1990 <= middle / PER_SECOND[u] <= _YEAR_2200]
    else:
        finer = []
    if finer:
        cure = f"pass --set source.time_unit={finer[0]}" if finer[0] in _UNITS else "divide it by 1000"
        raise DataError(
            f"{part.name} row 1: column {name} is in {finer[0]}, not in {unit} (its median is {middle:.0f}); {cure}"
        )
