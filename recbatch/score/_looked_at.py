"""Vectors as a first look sees them: rounded to bytes, a step for each part of a row, or as they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from recbatch import _compiling
from recbatch.contracts import Float32s, Int32s, Int64s

MIDDLE = 128
"""Added to the bytes of one side, which the machine multiplies as unsigned ones."""
_MOST = 127
_AT_ONCE = 2**14
"""Rows rounded at a time."""
STEP, KEPT, LOST, MIDST = range(4)
"""Facts of a row's part: size of a step, length as rounded, length of what rounding took, what the middle adds."""
FACTS = 4


class Kind(Enum):
    """What is looked at first."""

    FLOATS = "vectors as they are"
    BYTES = "rounded to bytes, which the machine multiplies four at a time (VNNI)"
    TILES = "rounded to bytes, which the machine's matrix unit multiplies (AMX)"

    @classmethod
    def best(cls) -> Kind:
        """The fastest of this machine."""
        unit = _compiling.vector_unit()
        return cls.TILES if unit.has_tiles else cls.BYTES if unit.has_bytes else cls.FLOATS

    @property
    def middle(self) -> int:
        """Added to the bytes of candidates."""
        return MIDDLE if self is Kind.BYTES else 0

    @property
    def depth(self) -> int:
        """Every part of a row is filled up with zeros to a whole number of so many words."""
        return _compiling.TILE_DEPTH if self is Kind.TILES else 1


@dataclass(frozen=True, slots=True)
class Rows:
    """Vectors as a first look sees them."""

    values: Float32s | Int32s
    """Shape (n, words): the vectors, or four bytes in each number, every part filled up with 0, see `Kind.depth`."""
    facts: Float32s
    """Shape (n, parts * 4), see `STEP` and those after it."""
    ends: Int64s
    """Shape (parts,): the first word behind each part."""


def rows(vectors: Float32s, widths: tuple[int, ...], kind: Kind, middle: int = 0) -> Rows:
    """Vectors (n, at least Σ widths) for a first look.

    Args:
        vectors: in parts.
        widths: columns of each part.
        kind: how they are looked at.
        middle: added to every byte.
    """
    count, in_bytes = len(vectors), kind is not Kind.FLOATS
    words = [-(-width // (4 * kind.depth)) * kind.depth if in_bytes else width for width in widths]
    ends = np.cumsum(words, dtype=np.int64)
    facts = np.zeros((count, FACTS * len(widths)), dtype=np.float32)
    rounded = np.full((count, int(ends[-1]), 4), middle, dtype=np.uint8) if in_bytes else None
    for start in range(0, count, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        column = 0
        for part, width in enumerate(widths):
            mine = facts[some, part * FACTS : (part + 1) * FACTS]
            exact = vectors[some, column : column + width].astype(np.float64)
            column += width
            if rounded is None:
                mine[:, STEP], mine[:, KEPT] = 1, _above(_lengths(exact))
                continue
            most = np.abs(exact).max(axis=1, initial=0.0)
            step = np.maximum(most / _MOST, np.finfo(np.float32).tiny).astype(np.float32)
            whole = np.clip(np.rint(exact / step[:, None]), -_MOST, _MOST)
            near = whole * step[:, None].astype(np.float64)
            mine[:, STEP], mine[:, MIDST] = step, -MIDDLE * whole.sum(axis=1)
            mine[:, KEPT], mine[:, LOST] = _above(_lengths(near)), _above(_lengths(exact - near))
            bytes_ = (whole.astype(np.int16) + middle).astype(np.uint8)
            place = int(ends[part]) - words[part]
            flat = rounded[some, place : place + words[part]].reshape(len(bytes_), -1)
            flat[:, :width] = bytes_
            rounded[some, place : place + words[part]] = flat.reshape(len(bytes_), words[part], 4)
    values: Any = vectors if rounded is None else rounded.view(np.int32)[..., 0]
    return Rows(np.ascontiguousarray(values), facts, ends)


def _lengths(vectors: Any) -> Any:
    return np.sqrt(np.einsum("nd,nd->n", vectors, vectors))


def _above(values: Any) -> Float32s:
    """As float32, not below."""
    return np.asarray(values * (1 + 2.0**-20), dtype=np.float32)
