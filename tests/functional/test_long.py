"""Law 5 for whole nights: killed at any instant, the same command goes on without a hand; part of `make test-long`."""

import random
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from recbatch.jobs.verify import damage

from recbatch import store
from recbatch.store import Lake

from ._laws import law_1, state
from .conftest import FAST, WORLD

KILLS = 40
DATE = "2020-02-02"
NIGHT = ["nightly", "--source", WORLD, "--run-date", DATE, "--train", "always", *FAST]
LIVE = ("catalog.duckdb", "latest.json")
TIMED = ("manifest.json", "report.html")
"""Files that say when and how fast."""


def content(lake) -> dict[str, str]:
    """File → sha256 of what a night leaves: its run, but for what is timed, and its models."""
    told = {name: digest for name, digest in state(lake).items() if name.rsplit("/", 1)[-1] not in (*LIVE, *TIMED)}
    models = (path for path in (lake / "models").rglob("*.npy"))
    return told | {str(path.relative_to(lake)): store.sha256_file(path) for path in models}


def beside(cli, name):
    """The same command with a copy of the lake."""
    lake = cli.lake.with_name(name)
    shutil.copytree(cli.lake, lake)
    return replace(cli, lake=lake)


def trial(cli, number: int, instant: float, wanted: dict[str, str]) -> tuple[bool, list[str]]:
    """Kills a night after so many seconds and runs it again; whether it was running, and what is wrong."""
    mine, wrong = beside(cli, f"kill-{number}"), []
    before = state(mine.lake)
    job = mine.start(*NIGHT)
    time.sleep(instant)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    after = state(mine.lake)
    wrong += [f"{name} changed" for name in before if name not in LIVE and after.get(name) != before[name]]
    law_1(mine.lake)
    mine(*NIGHT)
    law_1(mine.lake)
    found = content(mine.lake)
    wrong += [f"{name} is another" for name in sorted({name for name, _ in found.items() ^ wanted.items()})]
    wrong += damage(Lake(mine.lake))[1]
    wrong += [f"{path} is left" for path in mine.lake.glob("_*/*")]
    shutil.rmtree(mine.lake)
    return job.returncode == -signal.SIGKILL, wrong


@pytest.mark.long
@pytest.mark.kill
def test_kill_9_at_instants_all_over_whole_nights(cli, base_lake):
    """One in each fortieth. Readers see what they saw or the whole new run; the next start leaves what no kill leaves."""
    cli("status")
    with ThreadPoolExecutor(2) as pool:
        undisturbed = [beside(cli, name) for name in ("one", "two")]
        began = time.monotonic()
        list(pool.map(lambda mine: mine(*NIGHT), undisturbed))
        whole = time.monotonic() - began
        wanted, same = (content(mine.lake) for mine in undisturbed)
        assert wanted == same
        generator = random.Random(0)
        instants = [whole * (number + generator.random()) / KILLS for number in range(KILLS)]
        generator.shuffle(instants)
        ends = list(pool.map(lambda number: trial(cli, number, instants[number], wanted), range(KILLS)))
    hits, bad = sum(hit for hit, _ in ends), [wrong for _, wrong in ends if wrong]
    print(f"{hits} kills of {KILLS} met a running night of {whole:.1f} s: {len(bad)} bad states")
    assert bad == []
    assert hits > KILLS * 3 // 4
