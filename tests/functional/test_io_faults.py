"""Law 5 for a disk that fails: any system call of a publication, one at a time, and disks and limits that are full."""

import errno
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from recbatch import store
from recbatch.store import Lake

from ._publication import RUNS, attempt, state
from ._syscalls import Call, Plan

CODES = {errno.ENOSPC: 74, errno.EIO: 74, errno.EACCES: 77, errno.EROFS: 77}
FAILING = ("open", "write", "fsync", "rename", "mkdir")
LIVE = ("catalog.duckdb", "latest.json")


@dataclass(frozen=True)
class Case:
    """A lake with one run, and what the next publication does there."""

    base: Path
    calls: list[Call]
    whole: dict[str, str]
    """What it leaves where nobody disturbs it."""
    prepared: Path | None = None
    """The next run, where writing it is not part of the trial."""
    recovered: set[frozenset] = field(default_factory=set)
    """What failed calls have left on disk and the next start has made good: it knows nothing else of what was before."""

    @classmethod
    def of(cls, folder: Path, prepared: Path | None = None) -> "Case":
        base, whole = folder / "lake", folder / "whole"
        assert attempt(base, RUNS[0]).code == 0
        shutil.copytree(base, whole)
        trial = attempt(whole, RUNS[1], Plan(), prepared=prepared)
        assert trial.code == 0, trial.line
        return cls(base, trial.calls, settled(whole), prepared)


@pytest.fixture(scope="session")
def one_night(tmp_path_factory):
    return Case.of(tmp_path_factory.mktemp("one"))


def settled(root: Path) -> dict[str, str]:
    """Path → sha256 of a lake, but for the catalog, whose bytes differ from one writing to the next."""
    return {name: digest for name, digest in state(root).items() if name not in LIVE} | dict.fromkeys(LIVE, "")


def problem(case: Case, root: Path, plan: Plan) -> str | None:
    """What is wrong after a publication under a plan; and after the next one, which must need no hand."""
    shutil.copytree(case.base, root)
    before = state(root)
    trial = attempt(root, RUNS[1], plan, prepared=case.prepared)
    after = state(root)
    found = None
    if plan.at and plan.code is None:
        found = None if trial.code == -9 else f"exit {trial.code}"
    elif trial.code not in (0, CODES[plan.code]):
        found = f"exit {trial.code}: {trial.line}"
    elif trial.code and (str(root) not in trial.line or "\n" in trial.line or ";" not in trial.line):
        found = f"no path or no cure in {trial.line!r}"
    elif not trial.code and settled(root) != case.whole:
        found = "says it is done and is not"
    if any(after.get(name) != before[name] for name in before if name not in LIVE):
        found = "a published file changed"
    if "catalog.duckdb" not in after or "latest.json" not in after:
        found = "nothing is live"
    if after.get("catalog.duckdb") != before["catalog.duckdb"] and store.faults(Lake(root).run(RUNS[1])):
        found = "a run is live that is not whole"
    left = frozenset((name, path.stat().st_mode, after.get(name)) for name, path in _everything(root))
    if not found and plan.code and left in case.recovered:
        shutil.rmtree(root)
        return None
    again = attempt(root, RUNS[1], prepared=case.prepared)
    if again.code:
        found = f"the next start: exit {again.code}: {again.line}"
    elif settled(root) != case.whole or any(Lake(root).staging.iterdir()):
        found = f"other than undisturbed: {sorted({name for name, _ in settled(root).items() ^ case.whole.items()})}"
    if found:
        return f"{plan} {trial.calls[plan.at - 1]}: {found}"
    case.recovered.add(left)
    shutil.rmtree(root)
    return None


def _everything(root: Path) -> list[tuple[str, Path]]:
    return [(str(path.relative_to(root)), path) for path in root.rglob("*")]


def full(case: Case, root: Path, limit: int) -> str | None:
    """What is wrong after a publication under a limit on the size of files that it cannot keep."""
    shutil.copytree(case.base, root)
    before = state(root)
    trial = attempt(root, RUNS[1], limit=limit)
    if trial.code != 74 or str(root) not in trial.line or "ulimit -f" not in trial.line:
        return f"{limit}: exit {trial.code}: {trial.line}"
    if any(state(root).get(name) != before[name] for name in before):
        return f"{limit}: readers see something else"
    again = attempt(root, RUNS[1])
    return None if again.code == 0 and settled(root) == case.whole else f"{limit}: exit {again.code}: {again.line}"


def problems(case: Case, tmp_path: Path, plans: list[Plan]) -> list[str]:
    """What is wrong after any of the plans, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda n: problem(case, tmp_path / f"t{n}" / "lake", plans[n]), range(len(plans)))
        return [each for each in found if each]


def test_everything_written_is_forced_to_disk_before_anybody_can_see_it(one_night):
    done = [(call.kind, call.path) for call in one_night.calls]
    staged = f"_staging/{RUNS[1]}"
    promoted = done.index(("rename", staged))
    committed = done.index(("rename", "_staging/catalog.duckdb.new"))
    for before, folder in ((promoted, f"{staged}/"), (committed, "_staging/catalog.duckdb.new")):
        written = {path for kind, path in done[:before] if kind == "write" and path.startswith(folder)}
        assert written
        last_write = {
            path: max(n for n, call in enumerate(done[:before]) if call == ("write", path)) for path in written
        }
        assert [
            path for path, at in last_write.items() if ("fsync", path) not in done[at:before] and "wal" not in path
        ] == []
    assert ("fsync", "runs") in done[promoted:committed]
    assert ("fsync", "") in done[committed:]


@pytest.mark.parametrize("limit", [10, 3_000, 9_000, 60_000, 200_000])
def test_a_limit_on_the_size_of_files_is_told(one_night, tmp_path, limit):
    assert full(one_night, tmp_path / "lake", limit) is None


@pytest.mark.parametrize("share", [0.1, 0.7, 0.97])
def test_a_disk_that_fills_up_and_stays_full(one_night, tmp_path, share):
    writes = [at for at, call in enumerate(one_night.calls, 1) if call.kind == "write"]
    plan = Plan(writes[int(len(writes) * share)], errno.ENOSPC, lasting=True)
    assert problems(one_night, tmp_path, [plan]) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a few hundred kB with the lake on it, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        yield None
        return
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_really_full_disk(one_night, small_disk, tmp_path):
    """Where nobody may mount, writes beyond the same room fail as if there were one."""
    base, calls, whole = one_night.base, one_night.calls, one_night.whole
    if small_disk is None:
        assert problems(one_night, tmp_path, [Plan(calls.index(calls[-1]), errno.ENOSPC, lasting=True)]) == []
        return
    root = small_disk / "lake"
    shutil.copytree(base, root)
    before = state(root)
    for spare in (0, 40_000, 150_000, 250_000):
        ballast = small_disk / "ballast"
        room = shutil.disk_usage(small_disk).free - spare
        ballast.write_bytes(b"x" * (room // 4096 * 4096))
        trial = attempt(root, RUNS[1])
        assert trial.code == 74, (spare, trial.line)
        assert str(root) in trial.line, spare
        assert "the disk is full" in trial.line, spare
        assert state(root).items() >= before.items(), spare
        ballast.unlink()
    assert attempt(root, RUNS[1]).code == 0
    assert settled(root) == whole


def failing_calls(calls) -> list[int]:
    return [at for at, call in enumerate(calls, 1) if call.kind in FAILING]


def test_a_call_that_fails_leaves_the_last_good_run_and_names_path_and_need(one_night, tmp_path):
    places = failing_calls(one_night.calls)
    codes = list(CODES)
    plans = [Plan(at, codes[n % 4]) for n, at in enumerate(places[:: len(places) // 15])]
    assert problems(one_night, tmp_path, plans) == []


def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(one_night, tmp_path):
    """As `Path.glob` takes it."""
    folder = Call("open", f"_staging/{RUNS[1]}/recommendations")
    places = [at for at, call in enumerate(one_night.calls, 1) if call == folder]
    assert problems(one_night, tmp_path, [Plan(at, errno.EACCES) for at in places]) == []


@pytest.mark.long
@pytest.mark.io
def test_every_call_fails_in_every_way(one_night, tmp_path):
    plans = [Plan(at, code) for at in failing_calls(one_night.calls) for code in CODES]
    found = problems(one_night, tmp_path, plans)
    print(f"{len(plans)} failed calls, {len(one_night.recovered)} states left: {len(found)} bad ones")
    assert found == []
