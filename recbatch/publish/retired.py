"""LAKE/retired.json: which runs in `runs/` are out of the catalog on purpose, and why.

    {"runs": {"2024-03-02.1": {"reason": "rolled_back", "at": "2024-03-02T06:00:00+00:00", "to": "2024-03-01.1"}}}

Without a note here, a sound run that the catalog lacks was left behind by a kill, and the repair adopts it. The catalog
stays the commit point: a note about a run that stands in it says what was about to happen, and is struck. So a run
leaves by *note, then catalog*, and comes back by *catalog, then strike*; a kill between the two undoes the first and
finishes the second.

    rolled_back   stays on record and can come back
    collected     `gc` is deleting it, what is kept of it stands in `history/`
    superseded    `forget` replaced it by a copy, `to`, without the forgotten user
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from recbatch import store
from recbatch.contracts import Json
from recbatch.errors import StorageFailed
from recbatch.store import Lake

ROLLED_BACK, COLLECTED, SUPERSEDED = "rolled_back", "collected", "superseded"
_DOOMED = (COLLECTED, SUPERSEDED)


def retired(lake: Lake) -> dict[str, Json]:
    """Run id → its note: reason, at (ISO time), and to, the run that readers have in its place.

    Raises:
        StorageFailed: the file is damaged; nothing is adopted then.
    """
    if not lake.retired.exists():
        return {}
    try:
        return dict(store.read_checked_json(lake.retired)["runs"])
    except (StorageFailed, KeyError) as error:
        raise StorageFailed(
            f"{lake.retired}: damaged; restore it from a backup, or delete it: runs that were rolled back are then live"
            " again, and `recbatch rollback` takes them out"
        ) from error


def rolled_back(lake: Lake) -> dict[str, Json]:
    """The notes of the runs that can come back, by date and number."""
    notes = retired(lake)
    return {run_id: notes[run_id] for run_id in sorted(notes, key=store.run_key) if _is(notes[run_id], ROLLED_BACK)}


def retire(lake: Lake, notes: Mapping[str, Json]) -> None:
    """Notes runs that are about to leave the catalog; an older note of the same run is replaced."""
    if notes:
        _write(lake, retired(lake) | dict(notes))


def reinstate(lake: Lake, run_ids: Iterable[str]) -> None:
    """Strikes the notes of runs that stand in the catalog again, or whose folder is gone."""
    notes, struck = retired(lake), set(run_ids)
    if struck & notes.keys():
        _write(lake, {run_id: note for run_id, note in notes.items() if run_id not in struck})


def settle(lake: Lake, live: Iterable[str]) -> None:
    """Finishes what a kill interrupted: the catalog is right, the notes and the folders follow it."""
    notes, standing = retired(lake), set(live)
    for run_id, note in notes.items():
        if run_id not in standing and note["reason"] in _DOOMED and lake.run(run_id).is_dir():
            store.discard(lake, lake.run(run_id))
    reinstate(lake, [run_id for run_id in notes if run_id in standing or not lake.run(run_id).is_dir()])


def _is(note: Json, reason: str) -> bool:
    return bool(note["reason"] == reason)


def _write(lake: Lake, notes: Mapping[str, Json]) -> None:
    store.write_checked_json(lake.retired, {"runs": dict(notes)})
