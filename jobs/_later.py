"""Work beside other work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def later(work: Callable[[], T]) -> Callable[[], T]:
    """Begins work on a thread of its own; who calls the result waits for it and gets what it gives, or raises."""
    thread = ThreadPoolExecutor(1, thread_name_prefix="later")
    future = thread.submit(work)
    thread.shutdown(wait=False)
    return future.result
