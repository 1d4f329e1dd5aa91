"""One worker per core, each with a single-threaded matrix product of its own and scratch memory that it keeps."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import threadpoolctl

from recbatch._compiling import LINE, aligned
from recbatch.contracts import Float32s

S = TypeVar("S")
T = TypeVar("T")

_ROWS_AT_A_TIME = 1 << 16

_lock = threading.Lock()
_scratch = threading.local()
_inside: list[Any] = []


def workers() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def run(tasks: list[Callable[[], None]]) -> None:
    """Runs tasks on all cores; the matrix product is single-threaded meanwhile, in this process as a whole.

    Raises:
        Exception: whatever a task raised, the first in order.
    """
    if len(tasks) < 2 or workers() < 2:
        for task in tasks:
            task()
        return
    with _single_threaded_products():
        for future in [_pool().submit(task) for task in tasks]:
            future.result()


def both(first: Callable[[], S], second: Callable[[], T]) -> tuple[S, T]:
    """What two pieces of work give that are done side by side.

    Raises:
        Exception: whatever one raised, the first in order.
    """
    one, other = results([first, second])
    return one, other


def results(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """What pieces of work give, in order, done on all cores; raises what `run` does."""
    found: list[Any] = [None] * len(work)

    def keep(place: int) -> None:
        found[place] = work[place]()

    run([functools.partial(keep, place) for place in range(len(work))])
    return found


def by_rows(work: Callable[[slice], None], rows: int) -> None:
    """Calls `work` for slices that make up so many rows, each small enough for the cache, on all cores.

    For arithmetic over whole columns, which NumPy does on one core and through memory.
    """
    parts = [slice(start, min(start + _ROWS_AT_A_TIME, rows)) for start in range(0, rows, _ROWS_AT_A_TIME)]

    def some(mine: list[slice]) -> None:
        for part in mine:
            work(part)

    run([functools.partial(some, parts[worker :: workers()]) for worker in range(min(workers(), len(parts)))])


def scratch(rows: int, columns: int) -> Float32s:
    """Uninitialised memory of this thread, shape (rows, columns), from the start of a line of the cache.

    Valid until its next call, kept between calls: fresh pages would often cost more than the work.
    """
    cells = rows * columns
    held: Float32s | None = getattr(_scratch, "held", None)
    if held is None or len(held) < cells:
        held = _scratch.held = aligned(np.empty(cells + LINE // 4, dtype=np.float32))
    return held[:cells].reshape(rows, columns)


@contextmanager
def _single_threaded_products() -> Iterator[None]:
    """Holds as long as anybody is inside: the last one to leave restores what the first one found."""
    with _lock:
        _inside.append(_controller().limit(limits=1, user_api="blas") if not _inside else None)
    try:
        yield
    finally:
        with _lock:
            if len(_inside) == 1:
                _inside[0].restore_original_limits()
                _inside.clear()
            else:
                _inside.pop()


@functools.cache
def _controller() -> Any:
    return threadpoolctl.ThreadpoolController()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers(), thread_name_prefix="search")
