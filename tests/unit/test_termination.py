"""SIGTERM ends a command with 143, whatever the library makes of it in whose midst it arrives."""

import os
import signal

import pytest

from jobs import cli


def test_a_library_that_turns_the_signal_into_an_error_of_its_own(monkeypatch):
    def command(*_arguments, **_options):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException as error:
            raise RuntimeError("initialization failed") from error

    monkeypatch.setattr(cli.cli, "main", command)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main([])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.value.code == 143


def test_an_error_without_a_signal_stays_one(monkeypatch):
    def command(*_arguments, **_options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli.cli, "main", command)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(RuntimeError, match="a bug"):
            cli.main([])
    finally:
        signal.signal(signal.SIGTERM, before)
