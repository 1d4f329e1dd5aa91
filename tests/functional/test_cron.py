"""cron/nightly.sh as cron runs it, and a real cron daemon (`make test-tools`)."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import FAST, RECBATCH, WORLD

SCRIPT = Path(__file__).resolve().parents[2] / "cron" / "nightly.sh"


def environment(cli, tmp_path, **more):
    """What cron hands over: next to nothing."""
    return {
        "PATH": "/usr/bin:/bin",
        "RECBATCH_HOME": str(tmp_path),
        "RECBATCH_BIN": str(RECBATCH.parent),
        "RECBATCH_LAKE": str(cli.lake),
    } | more


def run(cli, tmp_path, *words, **more):
    return subprocess.run(
        [str(SCRIPT), *map(str, words)],
        env=environment(cli, tmp_path, **more),
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_log_is_rotated_by_size_and_failure_is_one_line(cli, tmp_path):
    log = tmp_path / "lake.log"
    log.write_text("x" * 2000)
    bad = ["--set", "train.epoch=1"]
    first = run(cli, tmp_path, *bad, RECBATCH_LOG_BYTES="1000")
    assert first.returncode == 78
    assert (
        first.stderr == "recbatch nightly: exit 78: recbatch: unknown setting train.epoch; did you mean train.epochs?\n"
    )
    assert (tmp_path / "lake.log.1").read_text() == "x" * 2000
    assert log.read_text().count("\n") == 1
    run(cli, tmp_path, *bad, RECBATCH_LOG_BYTES="1000")
    assert log.read_text().count("\n") == 2, "small logs go on"
    assert log.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.glob("lake.log*")) == ["lake.log", "lake.log.1"]


@pytest.mark.parametrize(
    ("more", "code", "word"),
    [
        ({"RECBATCH_HOME": "/nowhere"}, 66, "set RECBATCH_HOME"),
        ({"RECBATCH_LOG": "/proc/recbatch.log"}, 77, "set RECBATCH_LOG"),
        ({"TMPDIR": "/nowhere"}, 73, "/nowhere"),
        ({"RECBATCH_BIN": "/nowhere"}, 127, "not found"),
    ],
)
def test_what_is_wrong_around_the_night_is_one_line_too(cli, tmp_path, more, code, word):
    done = run(cli, tmp_path, **more)
    assert done.returncode == code
    assert word in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.tools
def test_a_real_cron_daemon_runs_nights_and_overlapping_starts(cli, tmp_path):
    """A job every minute, twice: one start of each pair gets the lock, the other says so in one line."""
    cron = shutil.which("cron") or "/usr/sbin/cron"
    assert Path(cron).exists(), "make test-tools needs Debian's cron: apt-get install cron"
    assert os.geteuid() == 0, "cron reads /etc/cron.d as root only"
    said = [tmp_path / "said-1", tmp_path / "said-2"]
    codes = tmp_path / "codes"
    words = " ".join(["--source", WORLD, "--run-date", "2020-02-01", "--force", *FAST])
    lines = [f"{key}={value}" for key, value in environment(cli, tmp_path, HOME="/dev/null/home").items()]
    lines += [f'* * * * * root "{SCRIPT}" {words} >>{path} 2>&1; echo $? >>{codes}' for path in said]
    job = Path("/etc/cron.d/recbatch-test")  # names with a dot are passed over
    ours = subprocess.run(["pgrep", "-x", "cron"], check=False, capture_output=True).returncode != 0
    daemon = None
    try:
        job.write_text("\n".join(lines) + "\n")
        job.chmod(0o644)
        if ours:
            daemon = subprocess.Popen([cron, "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while not (codes.exists() and len(codes.read_text().split()) >= 4) and time.monotonic() < deadline:
            time.sleep(0.5)
    finally:
        job.unlink()
        if daemon:
            daemon.terminate()
            daemon.wait()
    ended = codes.read_text().split()
    assert set(ended) == {"0", "75"}, (ended, [path.read_text() for path in said])
    told = "".join(path.read_text() for path in said).splitlines()
    assert len(told) == ended.count("75"), "silent on success, one line on failure"
    assert all("exit 75" in line and "another run holds the lock" in line for line in told)
    runs = json.loads(cli("runs", "--json").stdout)
    assert len(runs) >= ended.count("0")
    assert "sound" in cli("verify").stdout
    assert (tmp_path / "lake.cache").is_dir(), "HOME cannot be written"
    modes = {path.stat().st_mode & 0o007 for path in cli.lake.rglob("*")} | {
        (tmp_path / "lake.log").stat().st_mode & 0o007
    }
    assert modes == {0}, "nothing is readable for others"
