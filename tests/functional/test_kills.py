"""Law 5 for kill -9: a publication ends before any of its system calls, which are all the instants that a disk knows."""

import random
import shutil

import pytest

from ._publication import RUNS
from ._syscalls import Plan
from .test_io_faults import Case, one_night, problems  # noqa: F401 - a fixture


@pytest.fixture
def alone(one_night, tmp_path):  # noqa: F811
    """Publication alone: what writes, audits and seals the run is done."""
    prepared = tmp_path / "prepared"
    shutil.copytree(one_night.base.with_name("whole") / "runs" / RUNS[1], prepared)
    return Case.of(tmp_path, prepared)


def named_points(calls) -> list[int]:
    """The calls on either side of the protocol's steps: every rename, every fsync of a folder or pointer, the ends."""
    steps = [
        at
        for at, call in enumerate(calls, 1)
        if call.kind == "rename"
        or (call.kind in ("fsync", "unlink") and call.path in ("", "runs", "_staging", ".latest.json.new"))
        or (call.kind != "open" and call.path.startswith("_staging/catalog.duckdb.new") and call.kind != "write")
    ]
    return sorted({1, len(calls), *steps, *(at + 1 for at in steps if at < len(calls))})


def test_kill_9_at_random_instants_and_at_every_step_of_the_protocol(one_night, tmp_path):  # noqa: F811
    calls = one_night.calls
    renames = [at for at, call in enumerate(calls, 1) if call.kind == "rename"]
    generator = random.Random(5)
    places = [*renames, *(at + 1 for at in renames), *generator.sample(range(1, len(calls) + 1), 25 - 2 * len(renames))]
    assert problems(one_night, tmp_path, [Plan(at) for at in places]) == []


@pytest.mark.long
@pytest.mark.kill
def test_kill_9_at_a_thousand_instants_of_publication_alone(alone, tmp_path):
    calls = alone.calls
    points = named_points(calls) * 2
    generator = random.Random(6)
    places = [generator.randrange(1, len(calls) + 1) for _ in range(1_000)]
    found = problems(alone, tmp_path, [Plan(at) for at in (*places, *points)])
    told = f"{len(places)} kills at random among {len(calls)} calls and {len(points)} at named points"
    print(f"{told}: {len(found)} bad states")
    assert found == []
