"""Starts that overlap: one runs, the others are told to wait, and whoever dies leaves no lock behind."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection

import pytest

from recbatch import store
from recbatch.store import Lake

from ._publication import SERVER, command
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


@pytest.mark.long
def test_of_twenty_starts_at_once_nineteen_are_refused_within_three_seconds(cli, base_lake):
    """Starts that have imported what a start imports (not TensorFlow, for which a start that is refused never asks)."""
    words = [*NIGHT, "--train", "never", "--lake", str(cli.lake)]
    warm = SERVER.Process(target=int)
    warm.start()
    warm.join()
    jobs = [SERVER.Process(target=command, args=(words,)) for _ in range(STARTS)]
    began = time.monotonic()
    for job in jobs:
        job.start()
    ended: dict[int, float] = {}
    while len(ended) < STARTS:
        done = connection.wait([job.sentinel for job in jobs if job.pid not in ended])
        ended |= {job.pid: time.monotonic() - began for job in jobs if job.sentinel in done}
        for job in jobs:
            if job.sentinel in done:
                job.join()
    refused = [ended[job.pid] for job in jobs if job.exitcode == 75]
    print(f"{STARTS} starts at once: {len(refused)} refused, the last after {max(refused):.1f} s")
    assert sorted(job.exitcode for job in jobs) == [0] + [75] * (STARTS - 1)
    assert max(refused) < 3


@pytest.mark.long
def test_of_twenty_cold_starts_at_once_one_runs(cli, base_lake):
    """Each takes half a second of processor to import what it needs."""
    began = time.monotonic()
    jobs = [cli.start(*NIGHT, real=True) for _ in range(STARTS)]
    with ThreadPoolExecutor(STARTS) as pool:
        ends = list(pool.map(lambda job: (job.wait(120), time.monotonic() - began), jobs))
    for job in jobs:
        job.communicate()
    refused = [at for code, at in ends if code == 75]
    print(f"{STARTS} cold starts at once: {len(refused)} refused, the last after {max(refused):.1f} s")
    assert sorted(code for code, _ in ends) == [0] + [75] * (STARTS - 1)


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
