"""LAKE/withdrawn.json: titles that no reader may see and no night may recommend, until somebody takes them back.

The views leave them out of every run made before (`views.write_catalog`), `latest.json` names them for readers without
DuckDB (`publish.write_latest`), and a night leaves them out of what it reads.
"""

from __future__ import annotations

from pathlib import Path

from recbatch.store import Lake, read_checked_json, write_checked_json

_FILE = "withdrawn.json"


def path(lake: Lake) -> Path:
    """Where it stands."""
    return lake.root / _FILE


def read(lake: Lake) -> dict[str, str]:
    """The withdrawn titles: item id → title, by id; empty where nothing was ever withdrawn.

    Raises:
        StorageFailed: the file is damaged.
    """
    if not path(lake).is_file():
        return {}
    items: dict[str, str] = read_checked_json(path(lake))["items"]
    return dict(sorted(items.items()))


def write(lake: Lake, items: dict[str, str]) -> None:
    """Replaces the list; the caller holds the lake's lock and then replaces the catalog and `latest.json`.

    Raises:
        OSError: the file system refuses; the old list stays.
    """
    write_checked_json(path(lake), {"items": items})
