"""Declared columns of users and items as tokens: `genres=Drama`, `age in [25, 35)`. No strings per training step.

A space is fitted once, when a model is trained, and kept with it: later values that it does not know have no token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from recbatch.contracts import Float32s, Int32s, Json
from recbatch.errors import ConfigError

Float64s = npt.NDArray[np.float64]

CATEGORY, NUMBER, YEAR = "category", "number", "year"
NO_TOKEN = -1
_FEWEST_ROWS = 5
"""Values that fewer rows have are too rare to learn from."""
_MOST_VALUES = 256
_BUCKETS = 8
"""A number is told apart by its eighths."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column and its tokens."""

    name: str
    values: tuple[str, ...] = ()
    """Of a category, in byte order: one token each."""
    edges: tuple[float, ...] = ()
    """Of a number or year, ascending: token i is [edges[i - 1], edges[i]), the first and the last are open."""
    kind: str = CATEGORY

    @property
    def size(self) -> int:
        """How many tokens it has."""
        return len(self.values) or len(self.edges) + 1

    def tokens(self, column: pa.Array) -> tuple[Int32s, Int32s]:
        """Row and token of every known value; a list gives several."""
        if self.edges:
            numbers = _numbers(column, self.kind)
            rows = np.flatnonzero(~np.isnan(numbers))
            found = np.searchsorted(np.array(self.edges), numbers[rows], side="right")
            return rows.astype(np.int32), found.astype(np.int32)
        owners, texts = _flat(column)
        codes = np.asarray(pc.fill_null(pc.index_in(texts, value_set=pa.array(self.values, pa.string())), NO_TOKEN))
        known = codes != NO_TOKEN
        return owners[known], codes[known].astype(np.int32)


@dataclass(frozen=True, slots=True)
class FeatureSpace:
    """The tokens of one table, column after column."""

    fields: tuple[Field, ...] = ()

    @property
    def size(self) -> int:
        """Tokens of all columns."""
        return sum(field.size for field in self.fields)

    def matrix(self, table: pa.Table) -> Float32s:
        """Shape (rows, size): 1 for a token that a row has, 1/n for each of n values of a list."""
        found = np.zeros((table.num_rows, self.size), np.float32)
        start = 0
        for field in self.fields:
            if field.name in table.column_names:
                rows, tokens = field.tokens(_plain(table, field.name))
                share = 1 / np.bincount(rows, minlength=table.num_rows).clip(1)
                found[rows, start + tokens] = share[rows]
            start += field.size
        return found

    def codes(self, table: pa.Table) -> Int32s:
        """Shape (rows, fields): the token of each column, counted over all columns, NO_TOKEN where there is none.

        Of a list, the last known value counts.
        """
        found = np.full((table.num_rows, len(self.fields)), NO_TOKEN, np.int32)
        start = 0
        for place, field in enumerate(self.fields):
            if field.name in table.column_names:
                rows, tokens = field.tokens(_plain(table, field.name))
                found[rows, place] = start + tokens
            start += field.size
        return found

    def to_json(self) -> Json:
        """As an object for `from_json`."""
        return {
            "fields": [
                {"name": f.name, "values": list(f.values), "edges": list(f.edges), "kind": f.kind} for f in self.fields
            ]
        }

    @classmethod
    def from_json(cls, value: Json) -> FeatureSpace:
        """The inverse of `to_json`."""
        fields = (Field(f["name"], tuple(f["values"]), tuple(f["edges"]), f["kind"]) for f in value["fields"])
        return cls(tuple(fields))

    @classmethod
    def fit(cls, table: pa.Table, declared: Mapping[str, str], section: str) -> FeatureSpace:
        """The tokens of the declared columns that a table has.

        Args:
            table: one row per user or item.
            declared: column → `category`, `number` or `year`; columns that the table lacks are left out.
            section: of the config, for messages.

        Raises:
            ConfigError: a number that is text or a list.
        """
        present = [(name, kind) for name, kind in declared.items() if name in table.column_names]
        fitted = [_fit(name, kind, _plain(table, name), section) for name, kind in present]
        return cls(tuple(field for field in fitted if field.size > 1))


def _fit(name: str, kind: str, column: pa.Array, section: str) -> Field:
    if kind in (NUMBER, YEAR):
        numbers = _numbers(column, kind)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers) and kind == NUMBER and len(column.drop_null()):
            first = column.drop_null()[0].as_py()
            raise ConfigError(f"{section}.{name}: declared a number, but it holds {first!r:.40}; declare a category")
        if not len(numbers):
            return Field(name)
        inner = np.quantile(numbers, np.arange(1, _BUCKETS) / _BUCKETS, method="closest_observation")
        return Field(name, edges=tuple(np.unique(inner[inner > numbers.min()]).tolist()), kind=kind)
    _, texts = _flat(column)
    counted = pc.value_counts(texts)
    pairs = sorted(
        zip(*(counted.field(place).to_pylist() for place in (1, 0)), strict=True), key=lambda p: (-p[0], p[1])
    )
    return Field(name, values=tuple(sorted(value for count, value in pairs[:_MOST_VALUES] if count >= _FEWEST_ROWS)))


def _plain(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _numbers(column: pa.Array, kind: str) -> Float64s:
    """Shape (rows,): NaN where there is none."""
    if kind == NUMBER and not (pt.is_string(column.type) or pt.is_list(column.type)):
        return np.asarray(pc.fill_null(pc.cast(column, pa.float64()), float("nan")))
    texts = pc.cast(column, pa.string()) if not pt.is_list(column.type) else pa.nulls(len(column), pa.string())
    if kind == YEAR:
        texts = pc.struct_field(pc.extract_regex(texts, r"\((?P<year>\d{4})\)\s*$"), "year")
    good = pc.fill_null(pc.match_substring_regex(texts, r"^-?\d+(\.\d+)?$"), False)
    return np.asarray(pc.fill_null(pc.cast(pc.if_else(good, texts, None), pa.float64()), float("nan")))


def _flat(column: pa.Array) -> tuple[Int32s, pa.Array]:
    """Row and text of every value, nulls and empty texts left out."""
    if pt.is_list(column.type) or pt.is_large_list(column.type):
        owners, values = pc.list_parent_indices(column), pc.list_flatten(column)
    else:
        owners, values = pa.array(np.arange(len(column), dtype=np.int64)), column
    texts = cast(Any, pc.cast(values, pa.string()))
    kept = pc.fill_null(pc.greater(pc.utf8_length(texts), 0), False)
    return np.asarray(owners.filter(kept), np.int32), texts.filter(kept)
