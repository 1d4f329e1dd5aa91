"""What a night needs to know of the lake: repair after a kill, the parent run, whether the date is done."""

from __future__ import annotations

import grp
import os
import stat
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from recbatch import publish, store, views
from recbatch.contracts import Dataset, Json
from recbatch.errors import ConfigError, PermissionRefused
from recbatch.store import Lake

if TYPE_CHECKING:
    from recbatch.config import Config

from ._say import now

RESULT_SECTIONS = ("seed", "source", "dataset", "judge", "train", "index", "score", "popular", "rules", "audit")


def manifest_of(lake: Lake, run_id: str) -> Json:
    """The manifest of a published run, its checksum met."""
    return store.read_checked_json(lake.run(run_id) / store.MANIFEST)


def repair(lake: Lake) -> list[str]:
    """Finishes what a kill interrupted.

    Empties staging, deletes what was to be deleted, adopts promoted runs, tells readers of withdrawn titles, points
    `latest.json` at the live run.

    Returns:
        The live runs, oldest first.
    """
    store.empty_folder(lake.staging)
    live = views.live_runs(lake)
    publish.settle(lake, live)
    publish.unblock(lake)
    for parent in (lake.runs, lake.blocked):
        for copy in publish.half_replaced(parent):
            store.discard(lake, copy)
    adopted = publish.orphans(lake, live)
    if adopted:
        forget_progress(lake)
    if adopted or (live and (publish.withdrawal_unfinished(lake) or publish.catalog_differs(lake))):
        live = sorted({*live, *adopted}, key=store.run_key)
        views.write_catalog(lake, live)
    if live:
        publish.write_latest(lake, live[-1])
    for user in publish.pending(lake):
        from .forget import finish

        finish(lake, live, user, now())
        live = views.live_runs(lake)
    return live


def share(lake: Lake, group: str | None) -> None:
    """Gives the lake to a group: what is there, and by the folders' set-group-id bit all that comes.

    Args:
        lake: its folders exist; a lake that has been shared with the group already is left as it is.
        group: its name; none leaves the lake as it is.

    Raises:
        ConfigError: this machine knows no such group.
        PermissionRefused: this user is no member of it, or does not own the lake.
    """
    if group is None:
        return
    try:
        wanted = grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise ConfigError(f"ops.reader_group: no group {group!r} on this machine; correct it or create it") from error
    root = lake.root.stat()
    if root.st_gid == wanted and root.st_mode & stat.S_ISGID:
        return
    for path in [*store.below(lake.root), lake.root]:  # the root last: it says that all of it is done
        try:
            os.chown(path, -1, wanted, follow_symlinks=False)
        except PermissionError as error:
            who = f"this user may not give it to group {group} (ops.reader_group)"
            raise PermissionRefused(f"{path}: {who}; become a member of it, or set another") from error
        if path.is_dir():
            path.chmod(store.FOLDER_MODE | stat.S_ISGID)


def commit(lake: Lake, live: list[str]) -> None:
    """Makes exactly these runs live: the catalog first, then `latest.json`."""
    ordered = sorted(set(live), key=store.run_key)
    views.write_catalog(lake, ordered)
    publish.write_latest(lake, ordered[-1])


def forget_progress(lake: Lake) -> None:
    """Deletes what was kept to resume from; a night has ended well and nothing of it is needed."""
    if lake.resume.is_dir():
        store.discard(lake, lake.resume)


def forget_input(lake: Lake) -> None:
    """Deletes the kept rows of every input file; the next night keeps those that name no forgotten user."""
    if lake.cache.is_dir():
        store.discard(lake, lake.cache)


def parent_of(lake: Lake, live: list[str], run_date: date) -> Json | None:
    """Manifest of the live run with the largest date before `run_date`."""
    before = [run_id for run_id in live if store.run_key(run_id)[0] < run_date]
    return manifest_of(lake, before[-1]) if before else None


def run_id_for(lake: Lake, live: list[str], run_date: date, *, force: bool) -> str:
    """The run that a night of this date is about: the live one that stands for it, else, or under `force`, the next."""
    standing = [run_id for run_id in live if store.run_key(run_id)[0] == run_date]
    return standing[-1] if standing and not force else publish.next_run_id(lake, run_date)


@dataclass(frozen=True, slots=True)
class Done:
    """A live run of the date, and in what tonight's settings or input differ from it."""

    manifest: Json
    differences: tuple[str, ...]


def done(lake: Lake, live: list[str], data: Dataset, config: Config, rule_files: Json) -> Done | None:
    """The live run of the dataset's date, if there is one; `rule_files` as in the manifest."""
    of_date = [run_id for run_id in live if store.run_key(run_id)[0] == data.run_date]
    if not of_date:
        return None
    manifest = manifest_of(lake, of_date[-1])
    differences = []
    if manifest["fingerprint"] != data.fingerprint:
        differences.append("the input")
    if _content(manifest.get("rule_files")) != _content(rule_files):
        differences.append("a file of [rules]")
    # A release that did not have a section yet did what its defaults say.
    usual = type(config)().model_dump(mode="json")
    was, now = usual | manifest["config"], config.model_dump(mode="json")
    for section in RESULT_SECTIONS:
        values = now[section]
        if was.get(section) != values:
            changed = (
                [key for key in values if (was.get(section) or {}).get(key) != values[key]]
                if isinstance(values, dict)
                else []
            )
            differences.append(f"[{section}] {', '.join(changed)}".strip())
    return Done(manifest, tuple(differences))


def _content(rule_files: Json | None) -> dict[str, str]:
    return {key: file["sha256"] for key, file in (rule_files or {}).items()}
