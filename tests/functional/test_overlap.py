"""Starts that overlap: one runs, the others are told to wait, and whoever dies leaves no lock behind."""

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from recbatch import store
from recbatch.store import Lake

from .conftest import FAST, WORLD

NIGHT = ["nightly", "--source", WORLD, "--run-date", "2020-02-02", *FAST]
STARTS = 20


def until_it_trains(job):
    return next(line for line in job.stderr if '"stage": "train"' in line)


def test_of_twenty_starts_one_runs_and_the_rest_wait(cli, base_lake):
    """A start needs two seconds of processor where it must import; here it is a fork, so 3 s are the lock's own."""
    cli("status")
    with store.locked(Lake(cli.lake)):
        began = time.monotonic()
        jobs = [cli.start(*NIGHT) for _ in range(STARTS - 1)]
        codes = [(job.wait(60), time.monotonic() - began) for job in jobs]
        lines = [job.communicate()[1].splitlines()[-1] for job in jobs]
        assert [code for code, _ in codes] == [75] * (STARTS - 1)
        assert all("another run holds the lock" in line for line in lines)
    print(f"{STARTS - 1} refused within {codes[-1][1]:.1f} s")
    jobs = [cli.start(*NIGHT) for _ in range(STARTS)]
    ends = sorted(job.wait(120) for job in jobs)
    for job in jobs:
        job.communicate()
    assert ends == [0] + [75] * (STARTS - 1)
    assert cli.rows("select count(*) as n from runs") == [{"n": 2}]


def test_who_watches_hears_of_a_start_that_was_refused(cli, base_lake, tmp_path):
    """Also where only a settings file names the watcher, which a start that is refused reads for that alone."""
    by_flag, by_file = tmp_path / "flag.prom", tmp_path / "file.prom"
    settings = tmp_path / "recbatch.toml"
    settings.write_text(f'[ops]\nmetrics_file = "{by_file}"\n')
    with store.locked(Lake(cli.lake)):
        cli(*NIGHT, "--metrics-file", by_flag, code=75)
        cli(*NIGHT, "--config", settings, code=75)
    assert all("recbatch_night_exit_code 75" in path.read_text() for path in (by_flag, by_file))


@pytest.mark.long
def test_a_start_imports_nothing_that_takes_long_before_it_has_the_lock():
    program = "import sys, jobs.nightly\nassert not {'numpy', 'pyarrow', 'duckdb', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_of_twenty_cold_starts_at_once_nineteen_are_refused_within_three_seconds(cli, base_lake):
    """Processes that have imported nothing; a start looks at the lock before it imports what a night needs."""
    jobs = [cli.start(*NIGHT, real=True) for _ in range(STARTS)]
    began = time.monotonic()
    with ThreadPoolExecutor(STARTS) as pool:
        ends = list(pool.map(lambda job: (job.wait(120), time.monotonic() - began), jobs))
    lines = [job.communicate()[1].splitlines()[-1] for job in jobs]
    refused = [at for code, at in ends if code == 75]
    print(f"{STARTS} cold starts at once: {len(refused)} refused, the last after {max(refused):.1f} s")
    assert sorted(code for code, _ in ends) == [0] + [75] * (STARTS - 1)
    assert sum("another run holds the lock" in line for line in lines) == STARTS - 1
    assert max(refused) < 3


def test_the_lock_is_free_within_a_second_of_kill_9(cli, base_lake):
    job = cli.start(*NIGHT, "--train", "always")
    until_it_trains(job)
    job.send_signal(signal.SIGKILL)
    job.wait(10)
    began = time.monotonic()
    with store.locked(Lake(cli.lake)):
        assert time.monotonic() - began < 1
    job.communicate()


def test_sigterm_stops_within_ten_seconds_and_the_same_command_resumes(cli, base_lake):
    job = cli.start(*NIGHT, "--train", "always")
    until_it_trains(job)
    began = time.monotonic()
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 143
    assert time.monotonic() - began < 10
    assert (
        "run the same command again to resume" in job.communicate()[1] or list((cli.lake / "_staging").iterdir()) == []
    )
    assert cli.night("2020-02-02", "--train", "always")["status"] == "published"
    assert list((cli.lake / "_staging").iterdir()) == []
