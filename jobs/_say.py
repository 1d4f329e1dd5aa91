"""What a job tells the operator: a progress bar on a terminal, structured JSON lines on stderr everywhere else."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any

from recbatch import compile_time

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_LOG_EVERY_SECONDS = 10.0
_LINES_KEPT = 30
"""Last lines of the log that a monitor gets to see: a screenful."""


def now() -> datetime:
    """The time, UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0)


class Say:
    """Tells how a job gets on, and remembers how long each stage took.

    Use as a context manager. `seconds` has every stage that was begun, in order, `parts` what was timed inside of one,
    `compiling` how long each compiled loops that later nights find, `lines` the end of the log. Every line carries
    `run_id`, which a job sets before it begins a stage.
    """

    def __init__(self) -> None:
        self.started_at = now()
        self.seconds: dict[str, float] = {}
        self.parts: dict[str, float] = {}
        self.compiling: dict[str, float] = {}
        self.run_id: str | None = None
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._stage: str | None = None
        self._began = self._last_log = time.monotonic()
        self._compiled = 0.0
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        if sys.stderr.isatty():
            self._bar = _bar()

    def __enter__(self) -> Say:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_stage()
        if self._bar:
            self._bar.stop()

    def stage(self, name: str) -> None:
        """A stage begins; the one before it ends."""
        self.end_stage()
        self._stage, self._began, self._compiled = name, time.monotonic(), compile_time.seconds()
        if self._bar:
            self._task = self._bar.add_task(name, total=None)
        self.event("stage", stage=name)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Adds the seconds of a block to a part of the stage."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.parts[name] = self.parts.get(name, 0.0) + time.monotonic() - began

    def progress(self, stage: str, done: int, total: int) -> None:
        """How far a stage is; fits `contracts.Progress`."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif time.monotonic() - self._last_log > _LOG_EVERY_SECONDS:
            self.event("progress", stage=stage, done=done, total=total)

    def event(self, event: str, **fields: Any) -> None:
        """One structured line; on a terminal one line of text above the bar."""
        self._last_log = time.monotonic()
        line = json.dumps(
            {"at": now().isoformat(), "event": event, "run_id": self.run_id, **fields}, ensure_ascii=False, default=str
        )
        self.lines.append(line)
        if not self._bar:
            print(line, file=sys.stderr, flush=True)
        elif event != "stage":
            self._bar.console.print(f"{event}: " + ", ".join(f"{key} {value}" for key, value in fields.items()))

    def end_stage(self) -> None:
        """The stage that runs ends, so that `seconds` is whole; without one, nothing happens."""
        if self._stage is not None:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + time.monotonic() - self._began
            compiled = compile_time.seconds() - self._compiled
            if compiled:
                self.compiling[self._stage] = self.compiling.get(self._stage, 0.0) + compiled
            self._stage = None
        if self._bar and self._task is not None:
            self._bar.update(self._task, total=1, completed=1)
            self._task = None


def _bar() -> Progress:
    from rich.console import Console  # half a tenth of a second, which commands without a bar need not pay
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description:<10}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))
