"""When loops are compiled, and what compiled loops agree on. Compiling them all takes some seconds (numba).

Compiled on first use, which large nights earn back and small ones never pay: `is_due` counts the work done so far.
Where an earlier night has left its code (`kernels`), it is used from the start.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from recbatch.contracts import Float32s

LANES = 16
"""Partial sums of a score; see `index._finalists.exact_scores`, which adds in the same order."""
CHUNK = 64
"""Scores compared at a time; a block is as wide as a whole number of chunks."""
LINE = 64
"""Bytes of a line of the cache."""
_DUE_AFTER = 3.0e11
"""Multiplications and additions, about 2 s of matrix product on two cores, after which compiling pays."""

_done = [0.0]


def expect(operations: float) -> None:
    """Counts work towards compiling that is certain to come."""
    _done[0] += operations


def is_due(operations: float) -> bool:
    """Counts work towards compiling, and says whether it has been earned."""
    expect(operations)
    return _done[0] >= _DUE_AFTER


def compiled() -> None:
    """Says that loops have been compiled: whatever comes uses them."""
    _done[0] = max(_done[0], _DUE_AFTER)


@dataclass(frozen=True, slots=True)
class VectorUnit:
    """What the machine computes with."""

    length: int
    """Numbers per vector: 32 vectors of 16 with AVX-512, 16 of 8 with AVX2."""
    columns: int
    """Candidates whose products are summed at once: two vectors."""
    rows: int
    """Queries whose products are summed at once: two sums for each."""
    is_fused: bool
    """Whether it multiplies and adds in one step."""
    has_bytes: bool
    """Whether it multiplies and sums four bytes at a time (AVX-512 VNNI)."""


@functools.cache
def vector_unit() -> VectorUnit:
    """Of this machine."""
    from llvmlite import binding

    has = binding.get_host_cpu_features()
    length = 16 if has.get("avx512f") else 8
    return VectorUnit(length, 2 * length, 12 if length == 16 else 6, bool(has.get("fma")), bool(has.get("avx512vnni")))


def zeros(*shape: int) -> Float32s:
    """From the start of a line of the cache, since a vector that lies across two lines costs two loads."""
    cells = math.prod(shape)
    room = np.zeros(cells + LINE // 4, dtype=np.float32)
    start = -room.ctypes.data % LINE // 4
    return room[start : start + cells].reshape(shape)
