"""Every row of the README's runbook, tried: the exit code, one line, and what readers see afterwards."""

import fcntl
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import FAST, WORLD
from .test_nights import state

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
NIGHT = ["nightly", "--source", WORLD, "--run-date", "2020-02-02", *FAST]


def runbook():
    table = README[README.index("| exit code |") :].split("\n\n", 1)[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
    return {int(code): row for row in rows for code in re.findall(r"\d+", row[0])}


def already_done(cli):
    return cli("nightly", "--source", WORLD, "--run-date", "2020-02-01", *FAST, code=0)


def a_bug_of_ours(cli):
    broken = "from recbatch.jobs import cli, status; status.health = None; cli.main(['status'])"
    return subprocess.run(
        [sys.executable, "-c", broken],
        env=cli.environment(),
        cwd=cli.directory,
        capture_output=True,
        text=True,
        check=False,
    )


def wrong_words(cli):
    return cli("nightly", "--run-date", "yesterday", code=2)


def bad_data(cli):
    (cli.directory / "interactions.csv").write_text("user_id,what\n1,2\n")
    (cli.directory / "items.csv").write_text("item_id,title\n2,Two\n")
    return cli("nightly", "--source", f"files:{cli.directory}", code=65)


def no_input(cli):
    return cli("nightly", "--source", "files:/nowhere", code=66)


def a_file_in_the_way(cli):
    (cli.lake / "_staging").rmdir()
    (cli.lake / "_staging").write_text("in the way")
    return cli(*NIGHT, code=73)


def no_room_for_a_file(cli):
    command = "ulimit -f 16; exec " + shlex.join(cli.command(*NIGHT))
    return subprocess.run(
        ["/bin/sh", "-c", command],
        env=cli.environment(),
        cwd=cli.directory,
        capture_output=True,
        text=True,
        check=False,
    )


def a_held_lock(cli):
    with (cli.lake / "_lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        return cli(*NIGHT, code=75)


def no_permission(cli):
    return cli(*NIGHT, "--lake", "/sys/lake", code=77)


def a_wrong_setting(cli):
    return cli("nightly", "--set", "score.kk=1", code=78)


def stopped(cli, number):
    # A shell's background jobs ignore SIGINT and hand that on; a terminal's do not.
    attentive = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    )
    job = subprocess.Popen(
        [sys.executable, "-c", attentive, *cli.command(*NIGHT, "--train", "always")],
        env=cli.environment(), cwd=cli.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in job.stderr:
        if '"stage": "read"' in line:
            break
    job.send_signal(number)
    out, err = job.communicate(timeout=60)
    return subprocess.CompletedProcess(job.args, job.returncode, out, err)


TRIED = {
    0: already_done,
    1: a_bug_of_ours,
    2: wrong_words,
    65: bad_data,
    66: no_input,
    73: a_file_in_the_way,
    74: no_room_for_a_file,
    75: a_held_lock,
    77: no_permission,
    78: a_wrong_setting,
    130: lambda cli: stopped(cli, signal.SIGINT),
    143: lambda cli: stopped(cli, signal.SIGTERM),
}


def test_every_row_is_tried():
    assert set(runbook()) == set(TRIED)
    assert all(len(row) == 4 and all(row) for row in runbook().values())


@pytest.mark.parametrize("code", TRIED)
def test_a_row_of_the_runbook(cli, base_lake, code):
    before = state(cli.lake)
    done = TRIED[code](cli)
    assert done.returncode == code, done.stderr[-2000:]
    assert ("Traceback" in done.stderr) is (code == 1)
    if code not in (0, 1, 143):
        assert done.stderr.strip().splitlines()[-1].startswith(("recbatch: ", "Error: "))
    assert state(cli.lake) == before, "readers see the last good run"
    assert cli.rows("select count(*) as n from recommendations")[0]["n"] > 0
