"""`recbatch data import`: puts data that came by other ways than the network where `--source` finds it."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from recbatch.errors import DataError, InputMissing
from recbatch.sources.parts import sha256_of
from recbatch.sources.releases import Release, default_data_dir, manual_dir, releases

_ATOMIC = (".inter", ".item", ".user")
_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

Openers = Mapping[str, Callable[[], IO[bytes]]]
"""File name → how to open it for reading."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What `import_data` did."""

    kind: str
    """`movielens` (an official zip) or `recbole` (atomic files)."""
    placed: tuple[str, ...]
    """The files written, or found there with the same content."""
    source: str
    """The `--source` to use next."""


def import_data(path: Path, *, data_dir: Path | None) -> ImportReport:
    """Places data so that `read` finds it; the network is not used.

    An official MovieLens zip is recognised by its checksum, whatever its name, and copied to `downloads/manual/`. A
    wheel or zip with RecBole atomic files, or a folder of them, is copied to `recbole/<name>/`. Every file appears
    whole; importing twice changes nothing.

    Args:
        path: what to import.
        data_dir: where to; none: tensorflow-datasets' default.

    Returns:
        What was placed where.

    Raises:
        InputMissing: `path` does not exist.
        DataError: it is neither; names what it should have been.
        OSError: the directory cannot be written.
    """
    root = (data_dir or default_data_dir()).expanduser()
    if path.is_dir():
        files = {each.name: _opener(each) for each in sorted(path.iterdir()) if each.suffix in _ATOMIC}
        return _import_atomic(path, files, root)
    if not path.is_file():
        raise InputMissing(f"{path}: no such file or folder; name a MovieLens zip, a recbole wheel or a folder")
    official = _official(path)
    if official is not None:
        target = manual_dir(root) / official.file_name
        _place(_opener(path), target)
        return ImportReport("movielens", (str(target),), f"movielens/{official.name}")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: not a zip file; import an official MovieLens zip, a recbole wheel or a folder")
    with closing(zipfile.ZipFile(path)) as archive:
        # Only the last part of a member's name is used, so that no name reaches outside the target folder.
        members = {PurePosixPath(info.filename).name: info for info in archive.infolist() if not info.is_dir()}
        files = {name: _member(archive, info) for name, info in members.items() if name.endswith(_ATOMIC)}
        return _import_atomic(path, files, root)


def _official(path: Path) -> Release | None:
    """The registered release that a file is, or none."""
    digest = sha256_of(path)
    by_name = next((known for known in releases() if known.file_name == path.name), None)
    found = next((known for known in releases() if known.sha256 == digest), None)
    if by_name is not None and found is None:
        raise DataError(
            f"{path}: sha256 is {digest}, the registered {by_name.file_name} has {by_name.sha256};"
            " the copy is damaged or of another date: fetch it again from files.grouplens.org"
        )
    return found


def _import_atomic(path: Path, files: Openers, root: Path) -> ImportReport:
    names = {name.rpartition(".")[0] for name in files if name.endswith(".inter")}
    whole = sorted(name for name in names if f"{name}.item" in files)
    if not whole:
        known = ", ".join(release.file_name for release in releases())
        raise DataError(
            f"{path}: holds no data set of NAME.inter and NAME.item; import one of {known}, the recbole wheel, or a"
            " folder of atomic files"
        )
    if len(whole) > 1:
        raise DataError(f"{path}: holds several data sets ({', '.join(whole)}); import a folder with one of them")
    name = whole[0]
    if name.startswith(".") or not set(name) <= set(_NAME):
        raise DataError(f"{path}: {name!r} cannot name a folder; rename the files with letters, digits, - and _")
    folder = root / "recbole" / name
    targets = [folder / f"{name}{suffix}" for suffix in _ATOMIC if f"{name}{suffix}" in files]
    for target in targets:
        _place(files[target.name], target)
    return ImportReport("recbole", tuple(map(str, targets)), f"recbole:{folder}")


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: archive.open(info)


def _place(source: Callable[[], IO[bytes]], target: Path) -> None:
    """Copies to a file that appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as writing:
        try:
            with source() as reading:
                shutil.copyfileobj(reading, writing, 2**20)
            writing.flush()
            os.fsync(writing.fileno())
            Path(writing.name).chmod(0o644)
            Path(writing.name).replace(target)
        except BaseException as error:
            Path(writing.name).unlink(missing_ok=True)
            if isinstance(error, zipfile.BadZipFile):
                raise DataError(f"{target.name}: the zip file is damaged ({error}); fetch it again") from error
            raise
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
