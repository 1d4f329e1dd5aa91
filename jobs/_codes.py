"""What ended a job, as an exit code and the operator's line: the one place where exceptions become either."""

from __future__ import annotations

import signal

import click

from recbatch.errors import RecbatchError, from_os_error

BUG = 1


def ending(error: BaseException) -> tuple[int, str]:
    """Exit code by the table in `recbatch.errors`, and one line without the prefix `recbatch:`."""
    if isinstance(error, RecbatchError):
        return error.exit_code, str(error)
    if isinstance(error, click.ClickException):
        return error.exit_code, error.format_message()
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return 128 + signal.SIGINT, "interrupted; run the same command again to resume"
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else BUG
        return code, "terminated; run the same command again to resume"
    if isinstance(error, OSError):
        told = from_os_error(error)
        return told.exit_code, str(told)
    return BUG, " ".join(f"{type(error).__name__}: {error}".split())
