"""What `recbatch doctor` looks at: the machine, the installation, the input, the lake. Each check names its cure."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from recbatch import publish, views
from recbatch.config import Config, memory_bytes
from recbatch.errors import RecbatchError
from recbatch.sources.releases import default_data_dir, manual_dir, releases
from recbatch.store import Lake

from ._lake import manifest_of
from .status import health

OK, WARN, FAIL = "ok", "warn", "fail"
_MIB = 2**20
_LEAST_FREE_BYTES = 2**30
"""A night stages a whole run beside the live one; small lakes still want room for a model and DuckDB's spill."""
_LARGEST_SKEW_SECONDS = 120.0
"""A lake on a file server whose clock is off by more gives runs times that confuse people and monitors."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    outcome: str
    """`ok`, `warn` (the night will run) or `fail` (it will not, or should not)."""
    found: str
    cure: str = ""


def examine(lake: Lake, settings: Callable[[], Config]) -> Iterator[Finding]:
    """Every check, in an order in which the first failure is likely the cause of later ones.

    Writes two temporary files and removes them; makes no lake.
    """
    yield _python()
    yield from _packages()
    yield _processor()
    try:
        config = settings()
    except RecbatchError as error:
        yield Finding("settings", FAIL, str(error), "correct that line, then `recbatch config check`")
        config = Config()
    else:
        yield Finding("settings", OK, f"sound, digest {config.digest()[:12]}")
    yield _memory(config)
    yield _input(config)
    yield from _folders(lake)
    yield _disk(lake)
    yield from _lake(lake)
    yield _lock(lake)


def _python() -> Finding:
    found = f"{platform.python_implementation()} {platform.python_version()} on {sys.platform} {platform.machine()}"
    right = (3, 11) <= sys.version_info < (3, 14) and sys.platform == "linux" and platform.machine() == "x86_64"
    return Finding("python", OK if right else FAIL, found, "" if right else "use CPython 3.11 to 3.13, Linux x86-64")


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    wrong, seen = [], 0
    for requirement in map(Requirement, requires("recbatch") or ()):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        seen += 1
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing, {requirement.specifier} wanted")
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            wrong.append(f"{requirement.name} {installed} instead of {requirement.specifier}")
    if wrong:
        cure = "install the pinned set: pip install --require-hashes -r requirements.lock"
        yield Finding("packages", FAIL, "; ".join(wrong), cure)
    else:
        yield Finding("packages", OK, f"recbatch {version('recbatch')} and its {seen} requirements")


def _processor() -> Finding:
    try:
        words = Path("/proc/cpuinfo").read_text("utf-8").split()
    except OSError as error:
        return Finding("processor", WARN, str(error), "make sure it knows AVX2 and FMA")
    missing = [name for name in ("avx2", "fma") if name not in words]
    cores = len(os.sched_getaffinity(0))
    if missing:
        cure = "TensorFlow and ScaNN need both: move to another machine, or give the virtual one the host's processor"
        return Finding("processor", FAIL, f"{cores} cores without {' and '.join(missing)}", cure)
    return Finding("processor", OK, f"{cores} cores with AVX2 and FMA")


def _memory(config: Config) -> Finding:
    try:
        budget = memory_bytes(config.score.memory_budget)
    except RecbatchError as error:
        return Finding("memory", FAIL, str(error), "correct score.memory_budget")
    free = _available_bytes()
    found = f"{free // _MIB:,} MiB available, score.memory_budget {budget // _MIB:,} MiB"
    if free < budget:
        return Finding("memory", WARN, found, "free memory, or lower score.memory_budget so that preflight can refuse")
    return Finding("memory", OK, found)


def _available_bytes() -> int:
    """Of the machine and of the control group, the smaller."""
    lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text("utf-8"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text("utf-8"))
    except (OSError, ValueError):  # no control group, or `max`
        return free
    return min(free, limit - used)


def _input(config: Config) -> Finding:
    uri = config.source.uri
    kind, _, rest = uri.partition(":")
    if kind in ("files", "recbole", "duckdb") and rest:
        path = Path(rest).expanduser()
        if not os.access(path, os.R_OK):
            return Finding(
                "input", FAIL, f"{uri}: not there, or not readable", "correct source.uri, or give read access"
            )
        return Finding("input", OK, f"{uri} is readable")
    family, _, release = uri.partition("/")
    if family == "movielens":
        return _movielens(config, release)
    return Finding("input", OK, f"{uri} is generated")


def _movielens(config: Config, release: str) -> Finding:
    root = Path(config.source.data_dir).expanduser() if config.source.data_dir else default_data_dir()
    prepared = [root / "movielens" / f"{release}-{table}" for table in ("ratings", "movies")]
    zips = [manual_dir(root) / known.file_name for known in releases() if known.name == release]
    if all(path.is_dir() for path in prepared):
        return Finding("input", OK, f"movielens/{release} is prepared in {root}")
    if any(path.is_file() for path in zips):
        return Finding("input", OK, f"movielens/{release}: the zip lies in {zips[0].parent}, the night prepares it")
    cure = "let the night fetch it from GroupLens, or `recbatch data import ZIP`"
    return Finding("input", WARN, f"movielens/{release} is not in {root}", cure)


def _folders(lake: Lake) -> Iterator[Finding]:
    place = _nearest(lake.root)
    for name, folder in (("lake folder", place), ("temporary folder", Path(tempfile.gettempdir()))):
        try:
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".recbatch-doctor-") as file:
                file.write(b"x")
                file.flush()
                skew = abs(os.fstat(file.fileno()).st_mtime - datetime.now(UTC).timestamp())
        except OSError as error:
            cure = (
                "free space there" if error.errno == 28 else f"give user {os.geteuid()} write access, or choose another"
            )
            yield Finding(name, FAIL, f"{folder}: {error.strerror}", cure)
            continue
        yield Finding(name, OK, f"{folder} can be written")
        if folder == place:
            right = skew < _LARGEST_SKEW_SECONDS
            cure = "" if right else "let NTP set the clocks of this machine and of the file server"
            found = f"UTC {datetime.now(UTC):%Y-%m-%d %H:%M:%S}, {skew:.0f} s off the file system's"
            yield Finding("clock", OK if right else FAIL, found, cure)


def _nearest(path: Path) -> Path:
    """The path, or the first folder above it that is there: where the lake would be made."""
    path = path.absolute()
    return path if path.is_dir() or path == path.parent else _nearest(path.parent)


def _disk(lake: Lake) -> Finding:
    free = shutil.disk_usage(_nearest(lake.root)).free
    try:
        files = manifest_of(lake, views.live_runs(lake)[-1])["files"].values()
        need = max(_LEAST_FREE_BYTES, 3 * sum(facts["bytes"] for facts in files))
    except (RecbatchError, IndexError):
        need = _LEAST_FREE_BYTES
    found = f"{free // _MIB:,} MiB free, {need // _MIB:,} MiB wanted (three times the live run, 1 GiB at least)"
    return Finding("disk", OK if free >= need else FAIL, found, "" if free >= need else "free space, or `recbatch gc`")


def _lake(lake: Lake) -> Iterator[Finding]:
    if not lake.catalog.is_file():
        yield Finding("lake", OK, f"nothing is published in {lake.root}", "`recbatch nightly` begins it")
        return
    facts = health(lake)
    # What a night repairs by itself must not keep it from starting.
    outcome = OK if facts["healthy"] else WARN if facts["run_id"] else FAIL
    yield Finding("lake", outcome, facts["why"], "" if facts["healthy"] else "`recbatch verify` looks at every byte")
    if facts["age_seconds"] is not None and facts["age_seconds"] < 0:
        yield Finding("last run", FAIL, f"finished {facts['finished_at']}, in the future", "set this machine's clock")
    blocked = [path.name for path in publish.run_folders(lake.blocked)] if lake.blocked.is_dir() else []
    if facts["blocked_since"]:
        cure = f"read {lake.blocked / blocked[-1] / 'report.html'}"
        yield Finding("last night", WARN, f"blocked: {', '.join(facts['blocked_since'])}", cure)


def _lock(lake: Lake) -> Finding:
    path = lake.root / "_lock"
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return Finding("lock", OK, "free")
    except OSError as error:
        return Finding("lock", FAIL, f"{path}: {error.strerror}", f"give user {os.geteuid()} access")
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return Finding("lock", OK, "free")
    except BlockingIOError:
        holder = os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"
        cure = "wait for it; it frees the lock by itself, however it ends"
        return Finding("lock", WARN, f"held by process {holder}", cure)
    finally:
        os.close(handle)
