"""`movielens/<release>` through tensorflow-datasets: its builders, its files, its checksums.

TensorFlow is imported only once it is certain that the data is there or can be fetched.
"""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recbatch import _tensorflow
from recbatch.contracts import InputFile, Progress
from recbatch.errors import DataError, InputMissing
from recbatch.sources.parts import Part, RawTables, describe_file, sha256_of
from recbatch.sources.releases import HOST, Release, default_data_dir, manual_dir, releases

_TABLES = ("ratings", "movies")
_ROWS_PER_BATCH = 65_536
_CONNECT_SECONDS = 1.0
_ANSWER_SECONDS = 1.5
"""Looking a name up has no timeout of its own and may hang for minutes: the whole attempt is given this long."""

_RATINGS = {"user_id": "user_id", "movie_id": "item_id", "timestamp": "occurred_at", "user_rating": "rating"}
_PEOPLE = {
    "user_gender": "gender",
    "bucketized_user_age": "age",
    "user_occupation_text": "occupation",
    "user_zip_code": "zip_code",
}
"""Feature of `100k-ratings` and `1m-ratings` → column of users."""

Columns = dict[str, npt.NDArray[Any]]


def read_movielens(release: str, data_dir: Path | None, progress: Progress) -> RawTables:
    """Reads a MovieLens release, preparing it first where that was not done.

    Args:
        release: one of tensorflow-datasets' own, e.g. `100k`.
        data_dir: tensorflow-datasets' directory; none: its default.
        progress: called as the two tables are done.

    Returns:
        Interactions, items (titles from `-movies`) and, where the release has them, users with gender, age band,
        occupation and zip code.

    Raises:
        InputMissing: nothing is prepared, no zip lies in `downloads/manual` and GroupLens cannot be reached; said
            within two seconds, before TensorFlow is imported.
        DataError: the zip is not the registered one.
        OSError: the directory cannot be written.
    """
    root = (data_dir or default_data_dir()).expanduser()
    prepared = {table: _prepared(root, release, table) for table in _TABLES}
    if not all(prepared.values()):
        _require_obtainable(root, release)
    with _quiet():
        ratings, movies = (_builder(root, release, table, prepared[table]) for table in _TABLES)
        progress("read", 0, len(_TABLES))
        events, people = _read_ratings(ratings)
        progress("read", 1, len(_TABLES))
        items = _read_movies(movies)
        progress("read", 2, len(_TABLES))
    name = f"movielens/{release}"
    return RawTables(
        (Part(f"{name}-ratings", events),),
        (Part(f"{name}-movies", items),),
        (Part(f"{name}-ratings users", people),) if people is not None else (),
        (*_inputs(ratings), *_inputs(movies)),
        merge_by_title=True,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes that tensorflow-datasets writes to the log of absl, some of them once per feature."""
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _prepared(root: Path, release: str, table: str) -> Path | None:
    """The newest prepared version of a table, or none."""
    versions = [path.parent for path in (root / "movielens" / f"{release}-{table}").glob("*.*.*/dataset_info.json")]
    numbered = [path for path in versions if path.name.replace(".", "").isdigit()]
    return max(numbered, key=lambda path: [int(word) for word in path.name.split(".")], default=None)


def _require_obtainable(root: Path, release: str) -> None:
    """Checks that the official zip is at hand, or could be fetched."""
    path = manual_dir(root) / f"ml-{release}.zip"
    official = next((known for known in releases() if known.name == release), None)
    if path.is_file():
        if official is not None and sha256_of(path) != official.sha256:
            raise DataError(
                f"{path}: not the registered ml-{release}.zip (its sha256 differs); remove it, and import the official"
                " file with `recbatch data import`"
            )
        return
    if not (official and _was_downloaded(root, official)) and not _reachable():
        raise InputMissing(
            f"movielens/{release}: not prepared below {root}, no {path}, and {HOST} cannot be reached;"
            f" fetch ml-{release}.zip elsewhere and run `recbatch data import ml-{release}.zip`,"
            " or use another --source, e.g. sample"
        )


def _was_downloaded(root: Path, official: Release) -> bool:
    """Whether tensorflow-datasets fetched the zip before; it names a file by the checksum, in URL-safe base 64."""
    digest = base64.urlsafe_b64encode(bytes.fromhex(official.sha256)).decode().rstrip("=")
    downloads = root / "downloads"
    return any(path for depth in ("*", "*/*") for path in downloads.glob(f"{depth}{digest}.zip"))


def _reachable() -> bool:
    """Whether GroupLens answers at all."""
    answered = threading.Event()

    def knock() -> None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, 443), timeout=_CONNECT_SECONDS):
            answered.set()

    knocking = threading.Thread(target=knock, name="knock", daemon=True)
    knocking.start()
    knocking.join(_ANSWER_SECONDS)
    return answered.is_set()


def _builder(root: Path, release: str, table: str, prepared: Path | None) -> Any:
    """A builder whose data stands prepared."""
    tfds = _tensorflow.datasets()
    if prepared is not None:
        return tfds.builder_from_directory(str(prepared))
    tfds.disable_progress_bar()
    builder = tfds.builder(f"movielens/{release}-{table}", data_dir=str(root))
    core = tfds.core.download
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it announces downloads on the standard output
            builder.download_and_prepare(download_config=core.DownloadConfig(manual_dir=str(manual_dir(root))))
    except core.download_manager.NonMatchingChecksumError as error:
        raise DataError(
            f"movielens/{release}: what {HOST} sends is not the registered ml-{release}.zip (its sha256 differs);"
            " import a copy of the official file with `recbatch data import`, or use another release"
        ) from error
    except OSError as error:
        if error.errno is not None and error.filename is not None:
            raise
        raise InputMissing(  # the HTTP client's errors are OSErrors without a file
            f"movielens/{release}: the download from {HOST} failed ({str(error).splitlines()[0]:.200}); run again, or"
            f" fetch ml-{release}.zip elsewhere and run `recbatch data import ml-{release}.zip`"
        ) from error
    return builder


def _batches(builder: Any, features: tuple[str, ...], padding: dict[str, Any] | None = None) -> Iterator[Columns]:
    """The examples in the order of the files, many at a time; only the named features are decoded."""
    tfds = _tensorflow.datasets()
    decoders = tfds.decode.PartialDecoding(dict.fromkeys(features, True))
    reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    data = builder.as_dataset(split="train", decoders=decoders, read_config=reading, shuffle_files=False)
    data = data.padded_batch(_ROWS_PER_BATCH, padding_values=padding) if padding else data.batch(_ROWS_PER_BATCH)
    try:
        yield from tfds.as_numpy(data)
    except _tensorflow.tensorflow().errors.DataLossError as error:
        raise DataError(
            f"{builder.data_path}: a record is damaged; remove that folder and run again to prepare it anew"
        ) from error


def _read_ratings(builder: Any) -> tuple[pa.Table, pa.Table | None]:
    has_people = "user_zip_code" in builder.info.features
    features = (*_RATINGS, *(_PEOPLE if has_people else ()))
    tables = [pa.table({name: _arrow(batch[name]) for name in features}) for batch in _batches(builder, features)]
    table = pa.concat_tables(tables).combine_chunks()
    events = table.select(list(_RATINGS)).rename_columns(list(_RATINGS.values()))
    return events, _people(table) if has_people else None


def _people(table: pa.Table) -> pa.Table:
    """One row per user, in order of first appearance: the features stand in every rating."""
    codes = np.asarray(table["user_id"].combine_chunks().dictionary_encode().indices)
    table = table.take(pa.array(np.sort(np.unique(codes, return_index=True)[1])))
    male = np.asarray(table["user_gender"], np.bool_)
    age = np.asarray(table["bucketized_user_age"], np.int64)
    columns = {
        "user_gender": pa.array(np.where(male, "M", "F")),
        "bucketized_user_age": pa.array(age).cast(pa.string()),
    }
    texts = {new: columns.get(old, table[old]) for old, new in _PEOPLE.items()}
    return pa.table({"user_id": table["user_id"], **texts})


def _read_movies(builder: Any) -> pa.Table:
    names = np.array(builder.info.features["movie_genres"].feature.names)
    padding = {"movie_id": b"", "movie_title": b"", "movie_genres": np.int64(-1)}
    tables = []
    for batch in _batches(builder, tuple(padding), padding):
        genres = batch["movie_genres"]
        ends = np.concatenate([[0], np.cumsum((genres >= 0).sum(axis=1))])
        lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(names[genres[genres >= 0]]))
        columns = {"item_id": _arrow(batch["movie_id"]), "title": _arrow(batch["movie_title"]), "genres": lists}
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def _arrow(values: npt.NDArray[Any]) -> pa.Array:
    """An Arrow array; bytes are UTF-8."""
    return pa.array(values, pa.binary()).cast(pa.string()) if values.dtype == object else pa.array(values)


def _inputs(builder: Any) -> list[InputFile]:
    split = builder.info.splits["train"]
    return [
        describe_file(Path(path), int(rows)) for path, rows in zip(split.filepaths, split.shard_lengths, strict=True)
    ]
