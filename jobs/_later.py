"""Work beside other work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def later(work: Callable[[], T]) -> Callable[[], T]:
    """Begins work on a thread of its own; who calls the result waits for it and gets what it gives, or raises."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="later")
    future = thread.submit(work)
    thread.shutdown(wait=False)
    return future.result


@contextlib.contextmanager
def meanwhile(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """As `later`, for work that must have ended when the block ends, well or not: what writes into a staged folder."""
    done = later(work)
    try:
        yield done
    finally:
        with contextlib.suppress(Exception):
            done()
