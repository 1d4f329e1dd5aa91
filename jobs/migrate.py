"""`recbatch migrate`: a lake written by another release, made ready for this one."""

from __future__ import annotations

import click

from recbatch import __version__, publish, schemas, store, views
from recbatch.contracts import Json
from recbatch.errors import RecbatchError, StorageFailed
from recbatch.store import Lake

from . import _lake
from ._options import json_option, lake_option, print_json


@click.command()
@lake_option
@json_option
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def migrate(lake: Lake, as_json: bool, dry_run: bool) -> None:
    """Bring a lake of an earlier release up to this one's views; runs and models are never rewritten.

    Readers of the new views need not wait for the next night, which would do the same. Exit 74 where a run has a
    layout that this release does not know.

    \b
    recbatch migrate --dry-run --lake lake
    """
    lake.require()
    with store.locked(lake):
        try:
            found = bring_up(lake, dry_run=dry_run)
        finally:
            store.empty_folder(lake.staging)
    print_json(found) if as_json else click.echo(_sentence(lake, found, dry_run))


def bring_up(lake: Lake, *, dry_run: bool) -> Json:
    """Replaces the catalog and `latest.json` where this release would write them otherwise; the caller holds the lock.

    Returns:
        `recbatch` and `contract` of this release, `written_by` (release → live runs), `views` (names of views and
        macros that are new or have another text), and `latest`, whether `latest.json` changes.

    Raises:
        StorageFailed: a live run has another layout; nothing is changed.
    """
    live = views.live_runs(lake) if dry_run else _lake.repair(lake)
    manifests = [_lake.manifest_of(lake, run_id) for run_id in live]
    strange = [head for head in manifests if head.get("contract") != schemas.CONTRACT_VERSION]
    if strange:
        raise StorageFailed(
            f"run {strange[0]['run_id']} has layout {strange[0].get('contract')}, this recbatch {__version__} knows"
            f" {schemas.CONTRACT_VERSION}; use recbatch {strange[0].get('recbatch')} or later, nothing was changed"
        )
    written_by: dict[str, int] = {}
    for head in manifests:
        written_by[head.get("recbatch", "?")] = written_by.get(head.get("recbatch", "?"), 0) + 1
    found = {
        "recbatch": __version__,
        "contract": schemas.CONTRACT_VERSION,
        "written_by": written_by,
        "views": views.outdated(lake, live),
        "latest": not _latest_is_ours(lake, live[-1]),
    }
    if not dry_run and (found["views"] or found["latest"]):
        _lake.commit(lake, live)
    return found


def _latest_is_ours(lake: Lake, run_id: str) -> bool:
    try:
        current = store.read_checked_json(lake.latest)
    except RecbatchError:
        return False
    return {key: value for key, value in current.items() if key != "checksum"} == publish.latest(lake, run_id)


def _sentence(lake: Lake, found: Json, dry_run: bool) -> str:
    runs = ", ".join(f"{amount} by recbatch {release}" for release, amount in found["written_by"].items())
    changes = [f"{len(found['views'])} views ({', '.join(found['views'])})"] if found["views"] else []
    changes += ["latest.json"] if found["latest"] else []
    if not changes:
        return f"{lake.root}: live runs {runs}; nothing to change for recbatch {found['recbatch']}"
    verb = "would replace" if dry_run else "replaced"
    return f"{lake.root}: live runs {runs}; {verb} {' and '.join(changes)}"
