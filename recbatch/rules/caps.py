"""At most n titles of a kind in a list: the greedy choice along a ranking, for many lists at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recbatch.contracts import NO_ITEM, Bools, Int32s, Int64s
from recbatch.errors import ConfigError

Int16s = npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Caps:
    """Which values each title has, and how often a list may hold each value."""

    values: Int32s
    """Shape (items, most values of a title): codes, once each; `len(names)` where there are fewer."""
    limits: Int16s
    """Shape (values + 1,): the last belongs to no value and is never reached."""
    names: tuple[str, ...]
    """`column=value` by code."""

    @classmethod
    def of(cls, at_most: Mapping[str, int], items: pa.Table) -> Caps:
        """Limits on columns of items.

        Args:
            at_most: column → most titles of one value.
            items: one row per title, in position order; a list column gives a title each of its values.

        Raises:
            ConfigError: there is no such column, or it holds neither values nor lists of them.
        """
        rows, codes, names, limits = [], [], list[str](), list[int]()
        for column, limit in at_most.items():
            row, value = _pairs(items, column)
            distinct = pc.unique(value).sort()
            rows.append(row)
            codes.append(np.asarray(pc.index_in(value, value_set=distinct), dtype=np.int64) + len(names))
            names += [f"{column}={text}" for text in distinct.to_pylist()]
            limits += [limit] * len(distinct)
        keys = np.unique(
            np.concatenate([np.empty(0, np.int64), *rows]) * (len(names) + 1)
            + np.concatenate([np.empty(0, np.int64), *codes])
        )
        row, code = keys // (len(names) + 1), keys % (len(names) + 1)
        counts = np.bincount(row, minlength=items.num_rows)
        values = np.full((items.num_rows, max(1, int(counts.max(initial=0)))), len(names), dtype=np.int32)
        values[row, np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)] = code
        return cls(values, np.array([*limits, np.iinfo(np.int16).max], dtype=np.int16), tuple(names))

    def nothing(self, lists: int) -> Int16s:
        """Shape (lists, values + 1): what empty lists hold of each value."""
        return np.zeros((lists, len(self.limits)), dtype=np.int16)

    def choose(self, stream: Int32s, held: Int16s, room: Int64s) -> Bools:
        """The titles of each stream that a list takes when it goes along and takes whatever still fits.

        Args:
            stream: shape (B, n): item positions, best first, NO_ITEM for none; no title twice, none listed before.
            held: shape (B, values + 1): what each list holds; brought up to date.
            room: shape (B,): how many titles each list still takes.

        Returns:
            Shape (B, n): what is taken.
        """
        taken = np.zeros(stream.shape, dtype=np.bool_)
        left, every = room.copy(), np.arange(len(stream))[:, None]
        for column in range(stream.shape[1]):
            items = stream[:, column]
            values = self.values[items]
            open_: Bools = np.asarray(held[every, values] < self.limits[values])
            fits = np.logical_and.reduce(open_, axis=1) & (items != NO_ITEM) & (left > 0)
            held[every, values] += fits[:, None]
            held[:, -1] = 0
            left -= fits
            taken[:, column] = fits
            if not left.any():
                break
        return taken

    def full(self, held: Int16s, offered: Int32s) -> Bools:
        """Shape (B,): lists that no title of those offered still fits into; `offered` are rows of `kinds`."""
        reached: Bools = np.asarray(held >= self.limits)
        blocked = np.logical_or.reduce(reached[:, offered], axis=2)
        return np.asarray(np.logical_and.reduce(blocked, axis=1), dtype=np.bool_)

    def kinds(self, items: Int32s) -> Int32s:
        """The distinct rows of `values` among some titles: titles of one kind fit or do not fit together."""
        return np.unique(self.values[items], axis=0)


def _pairs(items: pa.Table, column: str) -> tuple[Int64s, pa.Array]:
    """Row and value, as text, of every value that stands in a column."""
    if column not in items.column_names:
        known = ", ".join(items.column_names)
        raise ConfigError(f"rules.at_most: items have no column {column!r}; they have: {known}")
    values = items[column].combine_chunks()
    row = np.arange(items.num_rows, dtype=np.int64)
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        row = np.asarray(pc.list_parent_indices(values), dtype=np.int64)
        values = pc.list_flatten(values)
    try:
        values = values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(
            f"rules.at_most: column {column!r} of items is {values.type}; expected text, numbers or a list of them"
        ) from error
    there = pc.is_valid(values)
    return row[np.asarray(there, dtype=np.bool_)], values.filter(there)
