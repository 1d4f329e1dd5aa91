"""Who hears how a night went: the metrics file, the monitor, OpenLineage. None of them can fail a night."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recbatch.store import Lake

from ._codes import ending
from ._say import Say, now

if TYPE_CHECKING:
    from recbatch.config import Config, Ops

    from ._lineage import Lineage
    from ._run import Night

Command = TypeVar("Command", bound=Callable[..., Any])


def watch_options(function: Command) -> Command:
    """`--metrics-file`, `--ping-url`, `--lineage` and `--lineage-parent`, handed over as `watchers` (overrides)."""

    @click.option(
        "--metrics-file",
        envvar="RECBATCH_METRICS_FILE",
        metavar="FILE",
        help="Prometheus textfile to write, also on failure.",
    )
    @click.option(
        "--ping-url",
        envvar="RECBATCH_PING_URL",
        metavar="URL",
        help="healthchecks-style monitor: URL/start, URL, URL/fail.",
    )
    @click.option("--lineage", is_flag=True, default=None, help="Send OpenLineage events (recbatch[lineage]).")
    @click.option(
        "--lineage-parent",
        envvar="OPENLINEAGE_PARENT_ID",
        metavar="NAMESPACE/JOB/RUN",
        help="The run that started this one, e.g. Airflow's.",
    )
    @functools.wraps(function)
    def wrapped(
        *args: Any,
        metrics_file: str | None,
        ping_url: str | None,
        lineage: bool | None,
        lineage_parent: str | None,
        **kwargs: Any,
    ) -> Any:
        chosen = {"ops.metrics_file": metrics_file, "ops.ping_url": ping_url, "ops.lineage": lineage}
        return function(*args, watchers=chosen, lineage_parent=lineage_parent, **kwargs)

    return wrapped  # type: ignore[return-value]


def somebody_listens() -> bool:
    """Whether the options of the command that runs may name a watcher; where they do not, no settings need be read."""
    given = click.get_current_context().params
    named = [given[name] for name in ("config_file", "metrics_file", "ping_url", "lineage")]
    return any(named) or any(text.strip().startswith("ops.") for text in given["assignments"])


class Watch:
    """Tells the watchers of one attempt; `begin` once the settings are known, `done` when it is done."""

    def __init__(self, lake: Lake, say: Say, day: date, given: dict[str, Any], lineage_parent: str | None) -> None:
        self._lake, self._say, self._day, self._parent = lake, say, day, lineage_parent
        self._ops = _ops_of(given)
        self._lineage: Lineage | None = None
        self._began = False
        self.done: Night | None = None

    def begin(self, config: Config) -> Config:
        """The settings are sound: tells everybody that the night begins; returns the settings.

        Raises:
            ConfigError: lineage is asked for and its extra is not installed, or the parent is not one.
        """
        self._ops = config.ops
        if config.ops.lineage:
            from ._lineage import Lineage

            self._lineage = Lineage.of(config, self._lake, self._day, self._parent)
        self._start()
        if self._lineage:
            self._lineage.start(self._say)
        return config

    def succeeded(self) -> None:
        """Tells everybody that the night is done."""
        if self.done:
            self._say.event("done", outcome=self.done.text)
            if self._lineage:
                self._lineage.complete(self.done.manifest, self._say)
        self._tell(0, "")

    def failed(self, error: BaseException) -> None:
        """Tells everybody that the night ended otherwise."""
        code, line = ending(error)
        if self._say.run_id:
            self._say.event("failed", exit_code=code, error=line)
        if self._lineage:
            self._lineage.fail(line, self._say)
        self._tell(code, line)

    def _start(self) -> None:
        if self._ops and self._ops.ping_url and not self._began:
            from ._ping import ping

            self._began = True
            ping(self._ops.ping_url, "/start", [], self._ops.ping_timeout_seconds, self._say)

    def _tell(self, code: int, line: str) -> None:
        self._say.end_stage()
        if not self._ops:
            return
        if self._ops.metrics_file:
            from ._metrics import Attempt
            from ._metrics import write as write_metrics

            attempt = Attempt(self._say.run_id, self._say.started_at, now(), code, self._say.seconds)
            try:
                write_metrics(Path(self._ops.metrics_file), self._lake, attempt)
            except OSError as error:
                self._say.event("metrics_failed", file=self._ops.metrics_file, error=str(error))
        if self._ops.ping_url:
            from ._ping import ping

            self._start()
            lines = [*self._say.lines, *([f"exit {code}: {line}"] if code else [])]
            ping(self._ops.ping_url, "/fail" if code else "", lines, self._ops.ping_timeout_seconds, self._say)


@contextlib.contextmanager
def watched(
    lake: Lake, say: Say, day: date, given: dict[str, Any], lineage_parent: str | None = None
) -> Iterator[Watch]:
    """A night that is watched: whatever ends it is told and goes on its way.

    Args:
        lake: of the night.
        say: its log.
        day: its run date.
        given: overrides of `ops` by dotted key, told even where the rest of the settings is unsound.
        lineage_parent: `namespace/job/run` of the run that started this one.
    """
    watch = Watch(lake, say, day, given, lineage_parent)
    try:
        yield watch
    except BaseException as error:
        watch.failed(error)
        raise
    watch.succeeded()


def _ops_of(given: dict[str, Any]) -> Ops | None:
    """None where nobody is to be told."""
    chosen = {key.removeprefix("ops."): value for key, value in given.items() if value is not None}
    if not chosen:
        return None
    from pydantic import ValidationError

    from recbatch.config import Ops

    try:
        return Ops(**chosen)
    except ValidationError:
        return None
