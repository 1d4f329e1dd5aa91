"""The book of faults: which input row was rejected or repaired, and why."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recbatch import schemas
from recbatch.errors import DataError
from recbatch.sources.parts import AnyPart

Codes = npt.NDArray[np.int8]
"""Shape (rows,): 0 for a row without fault, else 1 + the position of its reason in `REASONS`."""

REASONS = (
    "null_id",
    "empty_id",
    "nul_in_id",
    "bad_timestamp",
    "impossible_timestamp",
    "bad_rating",
    "bad_weight",
    "unknown_item",
    "duplicate_event",
    "duplicate_item",
    "duplicate_user",
    "missing_title",
)
REPAIRED = frozenset({"duplicate_event", "duplicate_item", "duplicate_user", "missing_title"})
"""Reasons of rows that were put right (of duplicates the first stays): they never stop a night."""

MAX_STORED = 10_000
"""Rows kept per reason; all are counted. A night that loses more has one cause, which the first ones show."""


def mark(codes: Codes, rows: npt.NDArray[np.bool_], reason: str) -> None:
    """Gives `reason` to those of `rows` (shape (rows,)) that have none yet; the first fault found is the one told."""
    codes[rows & (codes == 0)] = 1 + REASONS.index(reason)


class Ledger:
    """Collects the faults of every table of one reading."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._stored: Counter[str] = Counter()
        self._entries: list[tuple[str, int, str, str]] = []

    def record(self, table: str, parts: Sequence[AnyPart], codes: Codes, max_rejected_share: float) -> None:
        """Enters the faults of one table.

        Args:
            table: its name.
            parts: where its rows came from.
            codes: shape (rows of all parts,).
            max_rejected_share: more rejected rows than this share stop the reading; repaired rows do not.

        Raises:
            DataError: too many rows were rejected; names the commonest reason, its first row and the cure.
        """
        self.counts[table] += len(codes)
        found = {reason: np.flatnonzero(codes == 1 + at) for at, reason in enumerate(REASONS)}
        found = {reason: rows for reason, rows in found.items() if len(rows)}
        rejected = {reason: rows for reason, rows in found.items() if reason not in REPAIRED}
        if sum(map(len, rejected.values())) > max_rejected_share * len(codes):
            raise DataError(_too_many(table, parts, len(codes), rejected, max_rejected_share))
        for reason, rows in found.items():
            self.counts[reason] += len(rows)
            self._store(parts, reason, rows[: MAX_STORED - self._stored[reason]])

    def quarantine(self) -> pa.Table:
        """The entries as a table of `schemas.QUARANTINE`, sorted by file and row, at most `MAX_STORED` per reason."""
        entries = sorted(self._entries, key=lambda entry: entry[:2])
        columns = list(zip(*entries, strict=True)) if entries else [()] * 4
        schema = schemas.arrow(schemas.QUARANTINE)
        return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)

    def _store(self, parts: Sequence[AnyPart], reason: str, rows: npt.NDArray[np.int64]) -> None:
        self._stored[reason] += len(rows)
        first_row = 0
        for part in parts:
            local = rows[(rows >= first_row) & (rows < first_row + part.num_rows)] - first_row
            if len(local):
                contents = _readable(part.table.take(pa.array(local))).to_pylist()
                self._entries += [
                    (part.name, row + 1, reason, _json(content))
                    for row, content in zip(local.tolist(), contents, strict=True)
                ]
            first_row += part.num_rows


def place(parts: Sequence[AnyPart], row: int) -> tuple[str, int]:
    """File and row within it (1 is the first row of data) of a row counted over all parts from 0."""
    for part in parts:
        if row < part.num_rows:
            return part.name, row + 1
        row -= part.num_rows
    raise IndexError(row)


def _too_many(
    table: str, parts: Sequence[AnyPart], rows: int, rejected: dict[str, npt.NDArray[np.int64]], limit: float
) -> str:
    total = sum(map(len, rejected.values()))
    reason = max(rejected, key=lambda name: len(rejected[name]))
    file, row = place(parts, int(rejected[reason][0]))
    return (
        f"{table}: {total} of {rows} rows rejected ({total / rows:.1%}, at most {limit:.1%} allowed), most often"
        f" {reason} ({len(rejected[reason])}), first {file} row {row};"
        " correct the input or raise source.max_quarantined_share"
    )


def _readable(table: pa.Table) -> pa.Table:
    """Times as text: Python has no dates beyond the year 9999, and those are among the faults."""
    for at, field in enumerate(table.schema):
        if pa.types.is_temporal(field.type):
            naive = pa.timestamp(field.type.unit) if pa.types.is_timestamp(field.type) else field.type
            table = table.set_column(at, field.name, table.column(at).cast(naive).cast(pa.string()))
    return table


def _json(content: dict[str, Any]) -> str:
    return json.dumps({name: _plain(value) for name, value in content.items()}, ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    """Without the numbers that JSON lacks."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
