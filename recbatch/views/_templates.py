"""The files below `sql/`: where they are, and what their leading comments say."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

_PAIR = re.compile(r"([a-z_]+(?: [a-z_]+)*): *(.*)")


@dataclass(frozen=True, slots=True)
class SqlFile:
    """One select and its leading comment."""

    name: str
    text: str
    comment: str
    """The first line, `One row per …`."""
    notes: dict[str, str] = field(default_factory=dict)
    """`key: text` lines of the leading comment: a column's meaning, a macro's parameters, a check's severity."""


def parse(name: str, text: str) -> SqlFile:
    """Reads the leading comment of a SQL file.

    Args:
        name: the file's name without `.sql`.
        text: its content.

    Returns:
        The file; `comment` is the first comment line that is no `key: text` pair. A line that follows a pair and is
        indented by two or more blanks continues it.
    """
    comment, notes, last = "", dict[str, str](), ""
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        words = line.removeprefix("--")
        pair = _PAIR.fullmatch(words.strip())
        if last and words.startswith("   "):
            notes[last] += " " + words.strip()
        elif pair and (comment or not words.strip().startswith("One row")):
            last = pair[1]
            notes[last] = pair[2]
        elif not comment:
            comment = words.strip()
    return SqlFile(name, text, comment, notes)


@cache
def load(kind: str) -> dict[str, SqlFile]:
    """Every file of one kind, by name, in name order.

    Args:
        kind: `staging`, `marts`, `macros` or `checks`.
    """
    folder = _root().joinpath(kind)
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return {
        name.removesuffix(".sql"): parse(name.removesuffix(".sql"), folder.joinpath(name).read_text("utf-8"))
        for name in names
    }


def _root() -> Traversable:
    # Installed, setuptools maps sql/ to recbatch.sql; in a plain checkout the folder stands beside the package.
    try:
        return resources.files("recbatch.sql")
    except ModuleNotFoundError:
        return Path(__file__).parents[2] / "sql"
