"""The lake on disk: its paths, files that appear whole, sealed folders, and the lock.

    LAKE/catalog.duckdb        the commit point
    LAKE/latest.json           the same for readers without DuckDB
    LAKE/runs/<run_id>/        immutable, sealed
    LAKE/blocked/<run_id>/     what an audit or the gate stopped
    LAKE/models/<model_id>/    immutable, sealed
    LAKE/history/<run_id>/     what stays of a run that `gc` deleted, sealed
    LAKE/tuning/<study>.journal  what `tune` tried
    LAKE/retired.json          runs out of the catalog on purpose
    LAKE/forgotten.json        users whose events are dropped
    LAKE/_cache/<key>/         checked rows of an input partition, sealed; see `sources.kept`
    LAKE/_kernels/             loops compiled for this machine; see `kernels`
    LAKE/_resume/              what an interrupted night had finished, until a night ends well
    LAKE/_staging/  LAKE/_lock

A *sealed* folder holds `manifest.json`: every file below it with size and sha256, and a checksum of the manifest
itself. Nothing is read from a sealed folder, least of all a model, before its bytes have met the manifest.
"""

from __future__ import annotations

import contextlib
import fcntl
import fnmatch
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from recbatch.errors import InputMissing, LockHeld, StorageFailed, UsageError, naming

if TYPE_CHECKING:
    from recbatch.contracts import Json  # brings NumPy, which a start that is refused need not load

FILE_MODE = 0o640
"""Readers of the group may read, nobody else."""
FOLDER_MODE = 0o750
"""Beside it a folder keeps its set-group-id bit, by which all that is made in it belongs to its group."""
MANIFEST = "manifest.json"
_CHUNK_BYTES = 1 << 20
_RUN_ID = re.compile(r"(\d{4}-\d{2}-\d{2})\.([1-9]\d{0,8})")


@dataclass(frozen=True, slots=True)
class Lake:
    """A lake's paths. Making one touches nothing; `create` makes the folders."""

    root: Path

    @property
    def catalog(self) -> Path:
        """The DuckDB file whose replacement is the commit."""
        return self.root / "catalog.duckdb"

    @property
    def latest(self) -> Path:
        """The JSON that names the live run's files."""
        return self.root / "latest.json"

    @property
    def runs(self) -> Path:
        """Published runs."""
        return self.root / "runs"

    @property
    def blocked(self) -> Path:
        """Runs that were stopped before a reader could see them."""
        return self.root / "blocked"

    @property
    def models(self) -> Path:
        """Trained models."""
        return self.root / "models"

    @property
    def history(self) -> Path:
        """Manifest, metrics and audits of deleted runs; made when the first run is deleted."""
        return self.root / "history"

    @property
    def outcomes(self) -> Path:
        """What happened after a run, by run id; made when the first is evaluated."""
        return self.root / "outcomes"

    @property
    def tuning(self) -> Path:
        """Studies of `recbatch tune`, a journal each; no run depends on them."""
        return self.root / "tuning"

    @property
    def retired(self) -> Path:
        """Names the runs that are out of the catalog on purpose; see `publish.retired`."""
        return self.root / "retired.json"

    @property
    def forgotten(self) -> Path:
        """Names the forgotten users by digest; see `publish.forgetting`."""
        return self.root / "forgotten.json"

    @property
    def staging(self) -> Path:
        """Work in progress; empty after any finished command."""
        return self.root / "_staging"

    @property
    def resume(self) -> Path:
        """Checkpoints of an interrupted night, by model id; made when there is one to keep."""
        return self.root / "_resume"

    @property
    def cache(self) -> Path:
        """Checked rows of input partitions; made when there are some."""
        return self.root / "_cache"

    @property
    def kernels(self) -> Path:
        """Machine code that nights have compiled; made when there is some."""
        return self.root / "_kernels"

    def run(self, run_id: str) -> Path:
        """The folder of a published run; refuses text that is no run id."""
        return self.runs / checked_run_id(run_id)

    def create(self) -> None:
        """Makes the folders that are missing.

        Raises:
            OSError: the file system refuses.
        """
        for folder in (self.root, self.runs, self.blocked, self.models, self.staging):
            make_folder(folder)

    def require(self) -> None:
        """Checks that there is something to read.

        Raises:
            InputMissing: no lake here, or nothing published in it yet.
        """
        if not self.catalog.is_file():
            raise InputMissing(f"{self.root}: no published run here; run `recbatch nightly --lake {self.root}` first")


def make_folder(folder: Path) -> None:
    """Makes a folder and its parents with the lake's mode, whatever the umask."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _set_mode(folder)


def _set_mode(path: Path) -> None:
    is_folder = path.is_dir()
    path.chmod(FOLDER_MODE | path.stat().st_mode & stat.S_ISGID if is_folder else FILE_MODE)


def checked_run_id(text: str) -> str:
    """The text, if it is a run id.

    Raises:
        UsageError: it is not of the form YYYY-MM-DD.N.
    """
    if not _RUN_ID.fullmatch(text):
        raise UsageError(f"{text!r} is no run id: expected YYYY-MM-DD.N, e.g. 1998-04-23.1; `recbatch runs` lists them")
    return text


def run_key(run_id: str) -> tuple[date, int]:
    """(run date, number) of a run id: the order of runs in time."""
    day, number = checked_run_id(run_id).rsplit(".", 1)
    return date.fromisoformat(day), int(number)


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Hex sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def fsync_path(path: Path) -> None:
    """Forces a file's bytes, or a folder's entries, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        with naming(path):
            os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file so that it appears whole or not at all: temporary file, fsync, replace, fsync of the folder.

    Raises:
        OSError: the file system refuses; nothing is left behind and an existing file is untouched.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with naming(path), temporary.open("wb") as file:
            os.fchmod(file.fileno(), FILE_MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def canonical(value: Json) -> bytes:
    """JSON bytes of which there is exactly one per value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def write_checked_json(path: Path, value: Json) -> Json:
    """Writes an object with a `checksum` of its other keys; returns what was written."""
    body = {key: inner for key, inner in value.items() if key != "checksum"}
    whole = body | {"checksum": hashlib.sha256(canonical(body)).hexdigest()}
    write_bytes(path, _spelled(whole))
    return whole


def _spelled(value: Json) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def read_checked_json(path: Path) -> Json:
    """Reads what `write_checked_json` wrote.

    Raises:
        InputMissing: no such file.
        StorageFailed: not ours, or a bit has changed.
    """
    try:
        text = path.read_bytes()
        whole = json.loads(text)
        body = {key: inner for key, inner in whole.items() if key != "checksum"}
        # The spelling too: `1E5` for `1e5` or a lost line end would go unnoticed.
        sound = hashlib.sha256(canonical(body)).hexdigest() == whole.get("checksum") and text == _spelled(whole)
    except FileNotFoundError as error:
        raise InputMissing(f"{path}: no such file; run `recbatch verify`") from error
    except (ValueError, AttributeError) as error:
        raise StorageFailed(f"{path}: not readable as JSON ({error}); restore it or run `recbatch nightly`") from error
    if not sound:
        raise StorageFailed(f"{path}: its checksum does not match its content; restore it or run `recbatch nightly`")
    return dict(whole)


def matching(folder: Path, pattern: str = "*") -> list[Path]:
    """What a folder holds under names like `pattern`, by name; empty where it is no folder.

    Unlike `Path.glob`, which takes a folder that it may not read for an empty one.

    Raises:
        OSError: the file system refuses.
    """
    try:
        return sorted(path for path in folder.iterdir() if fnmatch.fnmatchcase(path.name, pattern))
    except (FileNotFoundError, NotADirectoryError):
        return []


def below(folder: Path) -> list[Path]:
    """Every file and folder below a folder, as `matching` finds them, in path order."""
    found = []
    for path in matching(folder):
        found += [path, *(below(path) if path.is_dir() and not path.is_symlink() else ())]
    return sorted(found)


def describe_files(folder: Path) -> dict[str, Json]:
    """Relative path → {sha256, bytes} of every file below a folder, the manifest left out, in path order."""
    names = _names(folder)
    digests = _sha256_of([folder / name for name in names])
    return {
        name: {"sha256": digest, "bytes": (folder / name).stat().st_size}
        for name, digest in zip(names, digests, strict=True)
    }


def _sha256_of(paths: list[Path]) -> list[str]:
    """`sha256_file` of each, on all cores."""
    from concurrent.futures import ThreadPoolExecutor  # a start that is refused need not load it

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        return list(threads.map(sha256_file, paths))


def _names(folder: Path) -> list[str]:
    """Every file below a folder, the manifest left out, in path order."""
    return [str(p.relative_to(folder)) for p in below(folder) if p.is_file() and p != folder / MANIFEST]


def seal(folder: Path, head: Json) -> Json:
    """Writes the manifest of a finished folder and forces all of it to disk.

    Args:
        folder: holds the finished files; modes are set to the lake's.
        head: what the manifest says besides its `files`.

    Returns:
        The manifest.
    """
    for path in below(folder):
        _set_mode(path)
        fsync_path(path)
    manifest = write_checked_json(folder / MANIFEST, head | {"files": describe_files(folder)})
    fsync_path(folder)
    return manifest


def faults(folder: Path) -> list[str]:
    """Every way in which a sealed folder differs from its manifest, one line each; empty where it is sound."""
    try:
        manifest = read_checked_json(folder / MANIFEST)
    except (InputMissing, StorageFailed) as error:
        return [str(error)]
    found, there = [], [name for name in manifest["files"] if (folder / name).is_file()]
    digests = dict(zip(there, _sha256_of([folder / name for name in there]), strict=True))
    for name, expected in manifest["files"].items():
        if name not in digests:
            found.append(f"{folder / name}: missing, {expected['bytes']} bytes expected")
        elif digests[name] != expected["sha256"]:
            found.append(f"{folder / name}: sha256 differs from the manifest")
    known = set(manifest["files"])
    found += [f"{folder / name}: not in the manifest" for name in _names(folder) if name not in known]
    return found


def unseal(folder: Path) -> Json:
    """The manifest of a sealed folder, after every file has met it.

    Raises:
        InputMissing: there is no such folder.
        StorageFailed: a file is missing, foreign or changed.
    """
    if not folder.is_dir():
        raise InputMissing(f"{folder}: no such folder; `recbatch runs` and `recbatch status` list what there is")
    found = faults(folder)
    if found:
        raise StorageFailed(f"{found[0]}; restore it from a backup or let the next night make a new one")
    return read_checked_json(folder / MANIFEST)


def move_folder(source: Path, target: Path) -> None:
    """Renames a finished folder to its place and forces both parents to disk.

    Raises:
        OSError: the target exists and is not empty, or the file system refuses.
    """
    source.rename(target)
    fsync_path(target.parent)
    fsync_path(source.parent)


def empty_folder(folder: Path) -> None:
    """Deletes everything below a folder, the folder itself stays."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def link(source: Path, target: Path) -> None:
    """The same file under a second name, which may outlive the first; a copy where the file system has no links.

    For files of sealed folders, which never change.
    """
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def discard(lake: Lake, folder: Path) -> None:
    """Deletes a folder of the lake so that it is never half there: renamed into staging first, emptied there.

    A kill in between leaves it in staging, which the next repair empties.
    """
    doomed = lake.staging / f"{folder.parent.name}-{folder.name}.gone"
    if doomed.exists():
        shutil.rmtree(doomed)
    move_folder(folder, doomed)
    shutil.rmtree(doomed)


@contextlib.contextmanager
def locked(lake: Lake) -> Iterator[None]:
    """Holds the lake for writing; the kernel frees it when the process ends, however it ends.

    Raises:
        LockHeld: another process holds it (exit 75).
    """
    lake.create()
    with lock_of(lake.root):
        yield


@contextlib.contextmanager
def lock_of(folder: Path) -> Iterator[None]:
    """Holds the file `_lock` of a folder that exists, as `locked` does.

    Raises:
        LockHeld: another process holds it.
    """
    handle = os.open(folder / "_lock", os.O_RDWR | os.O_CREAT, FILE_MODE)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"
            raise LockHeld(
                f"{folder}: another run holds the lock (process {holder}); wait for it to end, then run again"
            ) from error
        with naming(folder / "_lock"):
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
