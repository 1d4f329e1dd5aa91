# ruff: noqa: DTZ001 (tables hold UTC without a zone)
"""`movielens/latest-small` through tensorflow-datasets, offline, from the official zip."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recbatch import _tensorflow, sources
from recbatch.config import Source
from recbatch.contracts import SourceTables
from recbatch.errors import DataError
from recbatch.sources import tfds

ZIP = Path(__file__).parents[2].parent / "shared" / "data" / "ml-latest-small.zip"
needs_zip = pytest.mark.skipif(not ZIP.is_file(), reason=f"{ZIP} is not there")


@pytest.fixture(autouse=True, scope="module")
def _offline() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tfds, "_reachable", lambda: False)
        yield


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tfds")
    assert sources.import_data(ZIP, data_dir=folder).source == "movielens/latest-small"
    return folder


def read(data_dir: Path) -> SourceTables:
    source = Source(uri="movielens/latest-small", data_dir=str(data_dir))
    return sources.read(source, before=date(2018, 9, 1), today=date(2026, 1, 1))


@pytest.fixture(scope="module")
def tables(data_dir: Path) -> SourceTables:
    return read(data_dir)


@needs_zip
def test_every_rating_and_movie_arrives(tables: SourceTables) -> None:
    assert tables.counts["interactions"] == 100_836
    assert tables.counts["items"] == 9_742
    assert tables.interactions.num_rows + tables.counts["after_run_date"] == 100_836
    assert tables.counts["after_run_date"] > 0
    assert tables.quarantine.num_rows == 0
    assert tables.users.num_rows == 0
    assert tables.merge_by_title is True


@needs_zip
def test_a_rating_is_what_the_zip_says(tables: SourceTables) -> None:
    # ratings.csv: 1,1,4.0,964982703 — movies.csv: 1,Toy Story (1995),Adventure|Animation|Children|Comedy|Fantasy
    rows = [row for row in tables.interactions.to_pylist() if row["user_id"] == "1" and row["item_id"] == "1"]
    when = datetime(2000, 7, 30, 18, 45, 3)
    assert rows == [{"user_id": "1", "item_id": "1", "occurred_at": when, "rating": 4.0, "weight": None}]
    items = {row["item_id"]: row for row in tables.items.to_pylist()}
    genres = ["Adventure", "Animation", "Children", "Comedy", "Fantasy"]
    assert items["1"] == {"item_id": "1", "title": "Toy Story (1995)", "genres": genres}
    assert items["193609"]["title"] == "Andrew Dice Clay: Dice Rules (1991)"


@needs_zip
def test_the_prepared_files_are_the_inputs(tables: SourceTables, data_dir: Path) -> None:
    assert [(entry.rows, Path(entry.name).parts[-3]) for entry in tables.inputs] == [
        (100_836, "latest-small-ratings"),
        (9_742, "latest-small-movies"),
    ]
    for entry in tables.inputs:
        assert Path(entry.name).stat().st_size == entry.bytes


@needs_zip
def test_prepared_data_is_read_again_without_the_zip(
    tables: SourceTables, data_dir: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    (data_dir / "downloads" / "manual" / "ml-latest-small.zip").unlink()
    with caplog.at_level(logging.WARNING):
        again = read(data_dir)
    assert again.interactions.equals(tables.interactions)
    assert again.inputs == tables.inputs
    assert caplog.messages == []
    assert capsys.readouterr().out == ""


@needs_zip
def test_a_damaged_record_is_named(tables: SourceTables, data_dir: Path) -> None:
    path = Path(tables.inputs[0].name)
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"latest-small-ratings.*a record is damaged; remove that folder"):
        read(data_dir)


def test_people_are_taken_from_the_ratings() -> None:
    ratings = pa.table(
        {
            "user_id": ["7", "3", "7"],
            "user_gender": np.array([True, False, True]),
            "bucketized_user_age": np.array([25, 1, 25], np.float32),
            "user_occupation_text": ["writer", "K-12 student", "writer"],
            "user_zip_code": ["05105", "10003", "05105"],
        }
    )
    assert tfds._people(ratings).to_pylist() == [
        {"user_id": "7", "gender": "M", "age": "25", "occupation": "writer", "zip_code": "05105"},
        {"user_id": "3", "gender": "F", "age": "1", "occupation": "K-12 student", "zip_code": "10003"},
    ]


def test_the_releases_we_offer_are_those_of_tensorflow_datasets() -> None:
    builder = _tensorflow.datasets().builder_cls("movielens")
    names = {config.name for config in builder.BUILDER_CONFIGS}
    assert names == {f"{name}-{table}" for name in sources.uri.MOVIELENS for table in ("ratings", "movies")}


def test_the_features_we_ask_for_are_there() -> None:
    builder = _tensorflow.datasets().builder("movielens/100k-ratings", data_dir="/nonexistent")
    assert set(tfds._RATINGS) | set(tfds._PEOPLE) <= set(builder.info.features)
