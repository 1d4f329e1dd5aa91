"""When loops are compiled, and what compiled loops agree on. Compiling them all takes some seconds (numba).

Compiled on first use, which large nights earn back and small ones never pay: `is_due` counts the work done so far.
Where an earlier night has left its code (`kernels`), it is used from the start.
"""

from __future__ import annotations

import ctypes
import functools
import math
import platform
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recbatch.contracts import Float32s

LANES = 16
"""Partial sums of a score; see `index._finalists.exact_scores`, which adds in the same order."""
CHUNK = 64
"""Scores compared at a time."""
STRETCH = 256
"""Scores passed over at a time, where none is good enough; a block is as wide as a whole number of stretches."""
LINE = 64
"""Bytes of a line of the cache."""
TILE_ROWS, TILE_COLUMNS, TILE_DEPTH = 16, 32, 16
"""Queries and candidates (two registers) that the matrix unit meets at once, and how many numbers deep."""
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
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
    has_tiles: bool
    """Whether it multiplies matrices of bytes, and the system lets this process do so (AMX)."""


@functools.cache
def vector_unit() -> VectorUnit:
    """Of this machine."""
    from llvmlite import binding

    has = binding.get_host_cpu_features()
    length = 16 if has.get("avx512f") else 8
    has_bytes = bool(has.get("avx512vnni"))
    has_tiles = has_bytes and bool(has.get("amx-tile")) and bool(has.get("amx-int8")) and _may_use_tiles()
    return VectorUnit(length, 2 * length, 12 if length == 16 else 6, bool(has.get("fma")), has_bytes, has_tiles)


def _may_use_tiles() -> bool:
    """Linux keeps room for these registers only for processes that ask: arch_prctl(ARCH_REQ_XCOMP_PERM, 18)."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        return False
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0)


def tile_shapes(width: int) -> npt.NDArray[np.uint8]:
    """What `_tiles.begin` takes: rows, and bytes per row, of each register, for rows of so many numbers.

    Shape (64,): palette 1; from byte 16 on two bytes per register, from byte 48 on one.
    """
    shapes = np.zeros(64, dtype=np.uint8)
    shapes[0], rest = 1, width % TILE_DEPTH or TILE_DEPTH
    shapes[16:32:2] = 4 * TILE_DEPTH
    shapes[48:56] = TILE_ROWS
    shapes[16 + 2 * 5] = 4 * rest
    shapes[48 + 6 : 48 + 8] = rest
    return shapes


def zeros(*shape: int) -> Float32s:
    """From the start of a line of the cache, since a vector that lies across two lines costs two loads."""
    cells = math.prod(shape)
    return aligned(np.zeros(cells + LINE // 4, dtype=np.float32))[:cells].reshape(shape)


def aligned(room: Float32s) -> Float32s:
    """Memory from the start of the first line of the cache in it, up to a line shorter."""
    return room[-room.ctypes.data % LINE // 4 :]
