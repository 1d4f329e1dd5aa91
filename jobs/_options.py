"""Options that commands share, and how a configuration comes out of them: flag > RECBATCH_* > file > default."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from recbatch.store import Lake

if TYPE_CHECKING:
    from recbatch.config import Config

Command = TypeVar("Command", bound=Callable[..., Any])


class RunDate(click.ParamType[date]):
    """YYYY-MM-DD."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """The date of the text, or a usage error."""
        if isinstance(value, date):
            return value
        try:
            return datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007
        except ValueError:
            self.fail(f"{value!r} is no date; expected YYYY-MM-DD, e.g. 1998-04-23", param, ctx)


def lake_option(function: Command) -> Command:
    """`--lake DIR`, handed over as a `Lake`."""
    option = click.option(
        "--lake",
        envvar="RECBATCH_LAKE",
        default="lake",
        show_default=True,
        metavar="DIR",
        callback=lambda ctx, param, value: Lake(Path(value)),
        help="Where runs and models live (env RECBATCH_LAKE).",
    )
    return option(function)


def json_option(function: Command) -> Command:
    """`--json`, handed over as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(function)


def config_options(function: Command) -> Command:
    """`--config` and `--set`, handed over as `settings`, a function from overrides to a Config."""

    @click.option(
        "--config",
        "config_file",
        envvar="RECBATCH_CONFIG",
        type=click.Path(path_type=Path),
        help="Settings file, recbatch.toml (env RECBATCH_CONFIG).",
    )
    @click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="One setting; repeatable.")
    @functools.wraps(function)
    def wrapped(*args: Any, config_file: Path | None, assignments: tuple[str, ...], **kwargs: Any) -> Any:
        chosen = dict(_assignment(text) for text in assignments)

        def settings(overrides: dict[str, Any] | None = None) -> Config:
            from recbatch.config import load  # a tenth of a second, which commands without settings need not pay

            given = {key: value for key, value in (overrides or {}).items() if value is not None}
            return load(config_file, given | chosen)

        return function(*args, settings=settings, **kwargs)

    return wrapped  # type: ignore[return-value]


def _assignment(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--set {text}: expected SECTION.KEY=VALUE, e.g. --set train.epochs=20")
    return key.strip(), value.strip()


def print_json(value: Any) -> None:
    """Prints one JSON value for a program to read."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))
