"""The command `recbatch`: finds the job, and turns what it raises into one line and an exit code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn

import click

from recbatch import __version__
from recbatch.errors import RecbatchError

from ._codes import ending

_COMMANDS = {
    "nightly": "nightly",
    "demo": "demo",
    "data": "data",
    "show": "show",
    "similar": "similar",
    "why-not": "why_not",
    "sql": "sql",
    "runs": "runs",
    "status": "status",
    "verify": "verify",
    "report": "report",
    "withdraw": "withdraw",
    "evaluate": "evaluate",
    "export": "export",
    "export-lookup": "export_lookup",
    "rollback": "rollback",
    "gc": "gc",
    "diff": "diff",
    "backfill": "backfill",
    "forget": "forget",
    "config": "config",
    "doctor": "doctor",
    "init": "init",
    "migrate": "migrate",
    "backtest": "backtest",
    "tune": "tune",
    "benchmark": "benchmark",
}
"""Command → module of this package that holds it under the same name; loaded when it is asked for."""


class _Jobs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f".{_COMMANDS[cmd_name]}", __package__)
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader went away: nobody to tell; click's own answer is exit code 1, a bug's
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)


@click.command(cls=_Jobs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="recbatch")
def cli() -> None:
    """Nightly batch recommendations: interactions in, audited Parquet tables behind DuckDB views out.

    \b
    Try it:   recbatch nightly --source sample --lake lake --run-date 2024-03-01
              recbatch show 0000012 --lake lake
              recbatch sql "select * from metrics" --lake lake
    """


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; ends the process with the exit code of the table in `recbatch.errors`."""
    asked: list[int] = []

    def terminate(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, terminate)
    try:
        _run(arguments)
    except BaseException:
        if asked:  # raised in the midst of a library, it may come out as something else
            sys.exit(128 + asked[0])
        raise


def _run(arguments: list[str] | None) -> NoReturn:
    try:
        code = cli.main(arguments, prog_name="recbatch", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (RecbatchError, KeyboardInterrupt, click.Abort) as error:
        _say_and_exit(error)
    except OSError as error:
        _say_and_exit(error)


def _say_and_exit(error: BaseException) -> NoReturn:
    code, line = ending(error)
    click.echo(f"recbatch: {line}", err=True)
    sys.exit(code)
