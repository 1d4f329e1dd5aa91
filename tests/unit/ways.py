"""Every way of making products, on any machine: where instructions for bytes lack, loops stand in their places."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recbatch import _compiling, _tiles, _vectors
from recbatch.index import _compiled, _kernels, _passes
from recbatch.kernels import Kernel, leaf, part

_UNIT = _compiling.vector_unit()
_UNITS = {
    "floats": replace(_UNIT, has_bytes=False, has_tiles=False),
    "bytes": replace(_UNIT, has_bytes=True, has_tiles=False),
    "tiles": replace(_UNIT, columns=32, has_bytes=True, has_tiles=True),
}
WAYS = tuple(_UNITS)
HERE = ("floats", *["bytes"] * _UNIT.has_bytes, *["tiles"] * _UNIT.has_tiles)
"""What this machine can do by itself."""


@contextmanager
def in_way(way: str) -> Iterator[None]:
    """Candidates are packed and searched in this way meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (_compiled, _compiling):
            patch.setattr(module, "vector_unit", lambda: _UNITS[way])
        if way not in HERE:
            loops = _loops()
            patch.setattr(_vectors, "byte_products", loops["bytes"])
            patch.setattr(_tiles, "byte_products", loops["tiles"])
            patch.setattr(_tiles, "begin", leaf(_passes.nothing_to_begin))
            patch.setattr(_tiles, "end", leaf(_passes.nothing_to_end))
            patch.setitem(_kernels.SEARCH, way, _anywhere("search", way))
            patch.setitem(_kernels.VISIT, way, _anywhere("visit", way))
        yield


@functools.cache
def _anywhere(name: str, way: str) -> Kernel:
    native = {"search": _kernels.SEARCH, "visit": _kernels.VISIT}[name][way]
    return Kernel(f"{native.name}_anywhere", native.signature, native.loop)


@functools.cache
def _loops() -> dict[str, Any]:
    product = leaf(_of_four)

    def of_bytes(packed, group, panels, panel, scores, column):
        for line in range(packed.shape[2]):
            for place in range(panels.shape[2]):
                total = 0
                for word in range(panels.shape[1]):
                    total += product(packed[group, word, line], panels[panel, word, place])
                scores[line, column + place] = total

    def of_tiles(packed, group, panels, panel, scores, column):
        words, columns = panels.shape[1], panels.shape[2]
        half = columns // 2
        for line in range(16):
            for place in range(columns):
                total = 0
                for word in range(words):
                    at = place // half * words * half + word * half + place % half
                    number = packed[group, word // 16 * 16 + line, word % 16]
                    total += product(number, panels[panel, at // columns, at % columns])
                scores[line, column + place] = total

    return {"bytes": part(of_bytes), "tiles": part(of_tiles)}


def _of_four(signed, unsigned):
    total = 0
    for byte in range(4):
        one = (np.int64(signed) >> (8 * byte)) & 255
        total += (one - 256 if one > 127 else one) * ((np.int64(unsigned) >> (8 * byte)) & 255)
    return total
