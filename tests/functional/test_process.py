"""The fork that most tests run is held to the console script, and to `subprocess`."""

import os
import signal

import pytest

from .conftest import FAST, WORLD


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--version"], 0), (["config", "show"], 0), (["status"], 66), (["frobnicate"], 2)]
)
def test_a_fork_says_what_the_console_script_says(cli, arguments, code):
    real, fork = (cli(*arguments, code=code, real=real) for real in (True, False))
    assert (fork.stdout, fork.stderr) == (real.stdout, real.stderr)


def test_a_fork_takes_signals_and_its_reader_may_go_away(cli):
    job = cli.start("nightly", "--source", WORLD, "--run-date", "2020-02-01", *FAST)
    assert job.poll() is None
    os.kill(job.pid, signal.SIGKILL)
    job.communicate()
    assert job.returncode == job.poll() == -signal.SIGKILL
    job.send_signal(signal.SIGTERM)  # nobody's pid any more
    deaf = cli.start("config", "show")
    deaf.stdout.close()
    assert deaf.wait(60) == 0
    assert deaf.stderr.read() == ""
    deaf.stderr.close()
