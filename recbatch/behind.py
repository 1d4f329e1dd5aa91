"""Work on a thread of its own, beside the caller's."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def behind(waiting: int) -> Iterator[Callable[..., None]]:
    """Calls made one after another on a thread of their own, at most so many behind the caller.

    All of them are done when the block ends well. After one that raises none is made; a later call or the end of the
    block raises the same.
    """
    open_: deque[Future[None]] = deque()
    failed = threading.Event()

    def make(work: Callable[..., None], *arguments: object) -> None:
        if failed.is_set():
            return
        try:
            work(*arguments)
        except BaseException:
            failed.set()
            raise

    def call(work: Callable[..., None], *arguments: object) -> None:
        while len(open_) >= waiting:
            open_.popleft().result()
        open_.append(thread.submit(make, work, *arguments))

    thread = ThreadPoolExecutor(1, thread_name_prefix="write")
    try:
        yield call
        while open_:
            open_.popleft().result()
    finally:
        thread.shutdown(cancel_futures=True)
