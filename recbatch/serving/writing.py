"""SavedModels on the disk: a sealed folder that appears whole.

DIR/manifest.json                                   run, model, k, every file with its sha256
DIR/<index>-<form>/<version>/saved_model.pb …       what TensorFlow Serving loads; the version follows the run
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from recbatch import store
from recbatch.contracts import Json, Progress, no_progress
from recbatch.errors import CannotCreate
from recbatch.serving.tables import FORMS, ServingTables

_RUNS_PER_DATE = 1000


def version_of(run_id: str) -> int:
    """A model version for TensorFlow Serving, which serves the largest: run 2020-02-06.1 is 20200206001."""
    day, number = store.run_key(run_id)
    return int(f"{day:%Y%m%d}") * _RUNS_PER_DATE + min(number, _RUNS_PER_DATE - 1)


def write(
    folder: Path,
    tables: ServingTables,
    head: Json,
    *,
    indexes: Sequence[str],
    k: int,
    force: bool = False,
    progress: Progress = no_progress,
) -> Json:
    """Writes both forms of every index asked for, built aside and renamed.

    Args:
        folder: where they go; its parent exists.
        tables: of the run.
        head: what the manifest says of their origin, `run_id` among it.
        indexes: of `INDEXES`.
        k: titles per answer.
        force: take the place of an export that is there.
        progress: called as progress("export", models written, models).

    Returns:
        The manifest.

    Raises:
        CannotCreate: `folder` is there and may not be replaced, or its parent is not.
        OSError: the file system refuses; what was there stays.
    """
    require_free(folder, force=force)
    fresh, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    _remove(fresh)
    try:
        store.make_folder(fresh)
        wanted = [(index, form) for index in indexes for form in FORMS]
        for number, (index, form) in enumerate(wanted):
            _save(fresh / f"{index}-{form}" / str(version_of(head["run_id"])), tables, index, form, k)
            progress("export", number + 1, len(wanted))
        manifest = store.seal(fresh, head | {"models": [f"{index}-{form}" for index, form in wanted], "k": k})
        _remove(old)
        if folder.exists():
            folder.rename(old)
        store.move_folder(fresh, folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    finally:
        _remove(fresh)
    _remove(old)
    return manifest


def require_free(folder: Path, *, force: bool) -> None:
    """Checks that `write` may write there.

    Raises:
        CannotCreate: it may not.
    """
    if not folder.absolute().parent.is_dir():
        raise CannotCreate(f"{folder}: its parent folder does not exist; create it first")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / store.MANIFEST).is_file():
        raise CannotCreate(f"{folder}: is there and is no export; choose another place")
    if not force:
        raise CannotCreate(f"{folder}: holds an export already; replace it with --force or choose another place")


def _save(folder: Path, tables: ServingTables, index: str, form: str, k: int) -> None:
    from recbatch.serving import graph  # loads TensorFlow

    tf = graph.tf
    model = (graph.ByUser if form == "user" else graph.ByHistory)(tables, index, k)
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"] if index == "scann" else None)
    tf.saved_model.save(model, str(folder), signatures=model.signature(), options=options)
    tf.keras.backend.clear_session()


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
