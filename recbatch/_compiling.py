"""When loops are compiled, and what compiled loops agree on. Compiling them all takes some seconds (numba).

Compiled in memory on first use, which large nights earn back and small ones never pay: `is_due` counts the work done so
far. Nothing is cached on disk: numba's cache files are pickles.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from recbatch.contracts import Float32s

T = TypeVar("T")

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


def once(make: Callable[[], T]) -> Callable[[], T]:
    """As `functools.cache`, which two threads that ask at the same time may have make the same loops twice."""
    held: list[T] = []
    lock = threading.Lock()

    @functools.wraps(make)
    def get() -> T:
        with lock:
            if not held:
                held.append(make())
        return held[0]

    return get


@functools.cache
def has_bytes() -> bool:
    """Whether the machine multiplies and sums four bytes at a time (AVX-512 VNNI)."""
    from llvmlite import binding

    return bool(binding.get_host_cpu_features().get("avx512vnni"))


def zeros(*shape: int) -> Float32s:
    """From the start of a line of the cache, since a vector that lies across two lines costs two loads."""
    cells = math.prod(shape)
    room = np.zeros(cells + LINE // 4, dtype=np.float32)
    start = -room.ctypes.data % LINE // 4
    return room[start : start + cells].reshape(shape)
