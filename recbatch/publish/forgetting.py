"""Taking one user out of everything that was written, and LAKE/forgotten.json, which keeps it so.

    {"sha256": ["…"], "pending": []}

`sha256` holds the digest of each forgotten id: every night drops the events of a user whose id has one of them.
`pending` holds the id itself, and only while its rows are being taken out: after a kill the next repair goes on.

Files without a row of the user are linked, not copied; a file with one is written anew, since the statistics and
dictionaries of a Parquet file name users too.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import store
from recbatch.contracts import Json
from recbatch.errors import naming
from recbatch.publish.collecting import RUN_JSON
from recbatch.publish.runs import run_folders
from recbatch.publish.tables import parquet_writer
from recbatch.store import Lake

DERIVED = ("report.html", "lookup.arrow")
"""Files of a run that are made from its tables, and are made anew from what is left of them."""
_DIGESTS = "user_digests.npy"
"""In the order of `users`, so of no use to a copy with fewer: the night after it is scored in full."""
REMOVED = "[removed]"


def forgotten(lake: Lake) -> frozenset[str]:
    """The digests (hex sha256 of the id) of the forgotten users.

    Raises:
        StorageFailed: the file is damaged: no night may run without it.
    """
    return frozenset(_record(lake)["sha256"])


def pending(lake: Lake) -> list[str]:
    """Users whose rows a kill left in the lake."""
    return list(_record(lake)["pending"])


def remember(lake: Lake, user: str) -> None:
    """Records that a user is to be forgotten, before the first row goes."""
    record = _record(lake)
    digests, names = {*record["sha256"], store.sha256_text(user)}, {*record["pending"], user}
    store.write_checked_json(lake.forgotten, {"sha256": sorted(digests), "pending": sorted(names)})


def done(lake: Lake, user: str) -> None:
    """Records that no row of the user is left."""
    record = _record(lake)
    names = [name for name in record["pending"] if name != user]
    store.write_checked_json(lake.forgotten, {"sha256": record["sha256"], "pending": names})


def _record(lake: Lake) -> Json:
    return store.read_checked_json(lake.forgotten) if lake.forgotten.exists() else {"sha256": [], "pending": []}


def copy_without(source: Path, target: Path, user: str) -> dict[str, int]:
    """Copies a sealed folder but for the user's rows, `DERIVED`, the digests of users and the manifest.

    Returns:
        Table → rows that went or lost a text, tables without any left out.
    """
    changed: dict[str, int] = {}
    for name in store.read_checked_json(source / store.MANIFEST)["files"]:
        path = source / name
        store.make_folder((target / name).parent)
        if path.suffix == ".parquet":
            rows = _write_without(path, target / name, user)
            if rows:
                table = name.split("/", 1)[0]
                changed[table] = changed.get(table, 0) + rows
                continue
        if name not in (*DERIVED, _DIGESTS):
            store.link(path, target / name)
    return changed


def head_without(manifest: Json, user: str) -> Json:
    """The head of a manifest without the places that name the user: examples of audits, and the operator's reason."""
    head = {key: value for key, value in manifest.items() if key not in ("files", "checksum")}
    details = [audit["detail"] for audit in head.get("audits", []) if mentions(audit["detail"], user)]
    head["audits"] = [
        audit | {"detail": None} if audit["detail"] in details else audit for audit in head.get("audits", [])
    ]
    sentences = list(head.get("blocked_because") or [])
    for detail in details:
        sentences = [sentence.replace(detail, REMOVED) for sentence in sentences]
    head["blocked_because"] = sentences
    if head.get("degraded_reason"):
        head["degraded_reason"] = _word(user).sub(REMOVED, head["degraded_reason"])
    return head


def rewrite_history(lake: Lake, user: str) -> int:
    """Takes the user out of what is left of deleted runs, in place; returns the folders that changed."""
    changed = 0
    for folder in run_folders(lake.history):
        touched = _rewrite_in_place(lake, folder, user)
        run = store.read_checked_json(folder / RUN_JSON)
        head = head_without(run, user)
        if any(head[key] != run.get(key) for key in head):
            store.write_checked_json(folder / RUN_JSON, head | {"files": run["files"]})
            touched = True
        if touched or store.faults(folder):
            manifest = store.read_checked_json(folder / store.MANIFEST)
            store.seal(folder, {key: value for key, value in manifest.items() if key not in ("files", "checksum")})
            changed += 1
    return changed


def rewrite_outcomes(lake: Lake, user: str) -> list[Path]:
    """Writes the newest outcome of each run anew, under the next number, where it names the user.

    Returns:
        Folders to delete once the catalog no longer names them: every outcome that holds the user.
    """
    gone: list[Path] = []
    for run in run_folders(lake.outcomes):
        numbers = sorted((path for path in run.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
        for folder in numbers:
            staged = lake.staging / f"outcome-{run.name}-{folder.name}"
            store.make_folder(staged)
            if copy_without(folder, staged, user):
                gone.append(folder)
                if folder == numbers[-1]:
                    manifest = store.read_checked_json(folder / store.MANIFEST)
                    store.seal(staged, {k: v for k, v in manifest.items() if k not in ("files", "checksum")})
                    store.move_folder(staged, run / str(int(folder.name) + 1))
                    continue
            shutil.rmtree(staged)
    return gone


def mentions(text: str | None, user: str) -> bool:
    """Whether a text names the user: as a value of JSON other than an item's id, or as a word of anything else."""
    if text is None:
        return False
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if isinstance(value, dict | list):
        return any(str(each).strip() == user for each in _values(value))
    return bool(_word(user).search(text))


def _word(user: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(user)}(?!\w)")


def _values(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if not key.endswith("item_id"):
                yield from _values(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(inner)
    else:
        yield value


def _write_without(path: Path, target: Path, user: str) -> int:
    """Writes a Parquet file without the user's rows and texts; writes nothing and returns 0 where it has none."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        steps = [step for column, step in _STEPS.items() if column in file.schema_arrow.names]
        changes = sum(
            step(file.read_row_group(number), user)[1] for step in steps for number in range(file.num_row_groups)
        )
        if not changes:
            return 0
        with naming(target), parquet_writer(target, file.schema_arrow) as writer:
            kept = file.schema_arrow.empty_table()
            for number in range(file.num_row_groups):
                kept = file.read_row_group(number)
                for step in steps:
                    kept, _ = step(kept, user)
                writer.write_table(kept)
    return changes


def _drop_rows(rows: pa.Table, user: str) -> tuple[pa.Table, int]:
    import pyarrow.compute as pc  # slow to import, for the many commands that forget nobody

    kept = rows.filter(pc.not_equal(rows["user_id"], user))
    return kept, rows.num_rows - kept.num_rows


def _drop_contents(rows: pa.Table, user: str) -> tuple[pa.Table, int]:
    kept = rows.filter(pa.array([not mentions(text, user) for text in rows["content"].to_pylist()], pa.bool_()))
    return kept, rows.num_rows - kept.num_rows


def _drop_details(rows: pa.Table, user: str) -> tuple[pa.Table, int]:
    texts = rows["detail"].to_pylist()
    named = [mentions(text, user) for text in texts]
    kept = pa.array([None if gone else text for text, gone in zip(texts, named, strict=True)], pa.string())
    at = rows.column_names.index("detail")
    return rows.set_column(at, rows.schema.field(at), kept), sum(named)


_STEPS: dict[str, Callable[[pa.Table, str], tuple[pa.Table, int]]] = {
    "user_id": _drop_rows,
    "content": _drop_contents,
    "detail": _drop_details,
}
"""Column → what becomes of a table that has it: `content` is the quarantine's, `detail` the audits'."""


def _rewrite_in_place(lake: Lake, folder: Path, user: str) -> bool:
    touched = False
    for path in (each for each in store.below(folder) if each.suffix == ".parquet"):
        staged = lake.staging / "rewritten.parquet"
        if _write_without(path, staged, user):
            store.fsync_path(staged)
            staged.replace(path)
            touched = True
    return touched
