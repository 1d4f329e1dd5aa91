"""How long this process has compiled loops. It imports next to nothing: whoever times stages asks at every start."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_clock = threading.Lock()
_at_work: list[float] = []
"""When those began that compile now: two beside each other take no longer than one of them."""
_took: list[float] = []


def seconds() -> float:
    """So far; a night that finds its kernels has none of it."""
    return sum(_took)


@contextmanager
def counted() -> Iterator[None]:
    """Counts what the block takes."""
    with _clock:
        _at_work.append(time.monotonic())
    try:
        yield
    finally:
        with _clock:
            if len(_at_work) > 1:
                _at_work.pop()
            else:
                _took.append(time.monotonic() - _at_work.pop())
