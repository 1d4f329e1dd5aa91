"""What a night may take over from the run before it, and what must be the same for that."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from recbatch import store
from recbatch.contracts import Json
from recbatch.schemas import Table


def sound(folder: Path, parent: Json, tables: Sequence[Table], *others: str) -> bool:
    """Whether every file of some tables, and each of some other files, is there and what the manifest says.

    Args:
        folder: of the run.
        parent: its manifest.
        tables: all of their files count.
        others: by name; one that the manifest does not know is missing.
    """
    wanted = tuple(f"{table.name}/" for table in tables)
    files = {name: facts for name, facts in parent["files"].items() if name in others or name.startswith(wanted)}

    def is_sound(name: str) -> bool:
        return (folder / name).is_file() and store.sha256_file(folder / name) == files[name]["sha256"]

    with ThreadPoolExecutor() as pool:  # hashing leaves the interpreter to others
        return files.keys() >= set(others) and all(pool.map(is_sound, files))


def versions() -> Json:
    """Versions of what computes, without importing any of it."""
    from importlib.metadata import version

    names = ("tensorflow", "tensorflow-recommenders", "scann", "numpy", "pyarrow", "duckdb")
    return {"python": platform.python_version()} | {name: version(name) for name in names}
