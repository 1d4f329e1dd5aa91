"""Slow sweeps: run by `make test-long`; its last figures stand in the README."""

import random
import signal
import time

import pytest

from .conftest import FAST, WORLD
from .test_nights import state

pytestmark = [pytest.mark.long, pytest.mark.kill]

KILLS = 40


def test_kill_9_at_random_instants_of_whole_nights_leaves_a_good_run_and_the_next_start_repairs(cli, base_lake):
    """Law 5: after every kill the last good run reads whole; the next night needs no hand and leaves nothing behind."""
    generator, bad, hits = random.Random(0), [], 0
    began = time.monotonic()
    cli.night("2020-02-02", "--train", "always")
    whole = time.monotonic() - began
    for attempt in range(KILLS):
        run_date = f"2020-03-{1 + attempt // 2:02}" if attempt < 60 else "2020-04-01"
        before = state(cli.lake)
        job = cli.start("nightly", "--source", WORLD, "--run-date", run_date, "--train", "always", *FAST)
        time.sleep(generator.uniform(0.2, whole))
        job.send_signal(signal.SIGKILL)
        job.communicate()
        hits += job.returncode == -signal.SIGKILL
        after = state(cli.lake)
        kept = {name for name in before if name not in ("catalog.duckdb", "latest.json")}
        live = cli.rows("select count(*) as n, count(distinct user_id) as users from recommendations")[0]
        users = cli.rows("select count(*) as n from users")[0]["n"]
        if any(after.get(name) != before[name] for name in kept) or live["users"] != users:
            bad.append((attempt, run_date))
    done = cli.night("2020-04-02", "--train", "always")
    assert bad == []
    assert hits > KILLS // 2, "most kills met a running night"
    assert done["status"] == "published"
    assert list((cli.lake / "_staging").iterdir()) == []
    assert cli("verify").returncode == 0
    print(f"{hits} kills of {KILLS} met a running night of {whole:.1f} s: 0 bad states")
