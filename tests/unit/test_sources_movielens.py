"""`movielens/…` where nothing can be had: said at once, before TensorFlow is imported."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from recbatch import _tensorflow, sources
from recbatch.config import Source
from recbatch.errors import DataError, InputMissing
from recbatch.sources import tfds


class Imported(Exception):
    """TensorFlow would be imported now."""


@pytest.fixture(autouse=True)
def _no_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise Imported

    monkeypatch.setattr(_tensorflow, "datasets", refuse)
    monkeypatch.setattr(_tensorflow, "tensorflow", refuse)


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(address: tuple[str, int], timeout: float) -> Any:
        assert address == ("files.grouplens.org", 443)
        raise OSError("Name or service not known")

    monkeypatch.setattr(tfds.socket, "create_connection", fail)


@pytest.fixture
def _hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    over = threading.Event()

    def hang(address: tuple[str, int], timeout: float) -> Any:
        over.wait()
        raise OSError("given up")

    monkeypatch.setattr(tfds.socket, "create_connection", hang)
    yield
    over.set()


def read(data_dir: Path) -> None:
    source = Source(uri="movielens/latest-small", data_dir=str(data_dir))
    sources.read(source, before=date(2020, 1, 1), today=date(2026, 1, 1))


@pytest.mark.usefixtures("_offline")
def test_nothing_there_and_no_network_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"run `recbatch data import ml-latest-small\.zip`, or use another --source"):
        read(tmp_path)


@pytest.mark.usefixtures("_hanging")
def test_a_name_server_that_hangs_is_not_waited_for(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(InputMissing, match=r"files\.grouplens\.org cannot be reached"):
        read(tmp_path)
    assert time.monotonic() - start < 2


@pytest.mark.usefixtures("_offline")
def test_one_table_prepared_is_not_enough(tmp_path: Path) -> None:
    prepare(tmp_path, "ratings")
    with pytest.raises(InputMissing):
        read(tmp_path)


@pytest.mark.usefixtures("_offline")
def test_a_prepared_directory_needs_no_network(tmp_path: Path) -> None:
    prepare(tmp_path, "ratings")
    prepare(tmp_path, "movies")
    with pytest.raises(Imported):
        read(tmp_path)


@pytest.mark.usefixtures("_offline")
def test_an_earlier_download_needs_no_network(tmp_path: Path) -> None:
    digest = bytes.fromhex("696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436")
    name = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert name == "aW1lo9_OrHxFdQrTLfLCWTEZSe_sgfDxRP37kevJ5DY"
    (tmp_path / "downloads" / "movielens").mkdir(parents=True)
    (tmp_path / "downloads" / "movielens" / f"files.group.org_datas_movie_ml-lates-small{name}.zip").touch()
    with pytest.raises(Imported):
        read(tmp_path)


@pytest.mark.usefixtures("_offline")
def test_another_zip_of_that_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "downloads" / "manual").mkdir(parents=True)
    (tmp_path / "downloads" / "manual" / "ml-latest-small.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"not the registered ml-latest-small\.zip .*recbatch data import"):
        read(tmp_path)


def test_the_newest_prepared_version_is_read(tmp_path: Path) -> None:
    for version in ("0.1.9", "0.1.10", "0.2.0.incomplete"):
        prepare(tmp_path, "movies", version)
    (tmp_path / "movielens" / "latest-small-movies" / "0.1.11").mkdir()
    found = tfds._prepared(tmp_path, "latest-small", "movies")
    assert found == tmp_path / "movielens" / "latest-small-movies" / "0.1.10"


def prepare(root: Path, table: str, version: str = "0.1.1") -> None:
    folder = root / "movielens" / f"latest-small-{table}" / version
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
