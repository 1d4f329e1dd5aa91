"""What tensorflow-datasets has registered about the official MovieLens files, read without importing it."""

from __future__ import annotations

import functools
import importlib.util
from dataclasses import dataclass
from pathlib import Path

HOST = "files.grouplens.org"
_CHECKSUMS = "url_checksums/movielens.txt"


@dataclass(frozen=True, slots=True)
class Release:
    """One official zip."""

    name: str
    """As in `movielens/<name>`."""
    file_name: str
    bytes: int
    sha256: str


@functools.cache
def releases() -> tuple[Release, ...]:
    """Every registered MovieLens zip; none where tensorflow-datasets is not installed."""
    spec = importlib.util.find_spec("tensorflow_datasets")  # finds the package, does not run it
    folders = (spec.submodule_search_locations if spec else None) or []
    found = []
    for folder in folders:
        path = Path(folder) / _CHECKSUMS
        for line in path.read_text("utf-8").splitlines() if path.is_file() else ():
            _, size, digest, file_name = line.split("\t")
            found.append(Release(file_name.removeprefix("ml-").removesuffix(".zip"), file_name, int(size), digest))
    return tuple(found)


def default_data_dir() -> Path:
    """Where tensorflow-datasets keeps its data unless told otherwise."""
    return Path("~/tensorflow_datasets").expanduser()


def manual_dir(data_dir: Path) -> Path:
    """Where tensorflow-datasets looks for zips that were put there by hand."""
    return data_dir / "downloads" / "manual"
