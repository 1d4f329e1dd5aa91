"""`import_data`: what is recognised, where it goes, and what is refused."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from recbatch.errors import DataError, InputMissing
from recbatch.sources import ImportReport, import_data, importing
from recbatch.sources.releases import Release, default_data_dir, releases

INTER, ITEM = b"user_id:token\titem_id:token\nu\ta\n", b"item_id:token\na\n"


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = zipped(tmp_path / "ml-tiny.zip", **{"ml-tiny/ratings.csv": b"userId\n"})
    content = path.read_bytes()
    release = Release("tiny", "ml-tiny.zip", len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(importing, "releases", lambda: (release,))
    return path


def test_the_registered_checksums_are_found() -> None:
    assert {release.name for release in releases()} == {"100k", "latest-small", "1m", "20m", "25m"}
    small = next(release for release in releases() if release.name == "latest-small")
    assert small.file_name == "ml-latest-small.zip"
    assert small.bytes == 978202
    assert small.sha256 == "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436"


def test_an_official_zip_goes_where_tensorflow_datasets_looks(official: Path, tmp_path: Path) -> None:
    target = tmp_path / "data" / "downloads" / "manual" / "ml-tiny.zip"
    renamed = official.rename(tmp_path / "download (1).zip")
    report = import_data(renamed, data_dir=tmp_path / "data")
    assert report == ImportReport("movielens", (str(target),), "movielens/tiny")
    assert target.read_bytes() == renamed.read_bytes()
    assert [path.name for path in target.parent.iterdir()] == ["ml-tiny.zip"]
    assert import_data(renamed, data_dir=tmp_path / "data") == report


def test_an_official_name_with_other_content_is_refused(official: Path, tmp_path: Path) -> None:
    zipped(official, other=b"content")
    with pytest.raises(DataError, match=r"ml-tiny\.zip: sha256 is .*fetch it again") as refused:
        import_data(official, data_dir=tmp_path / "data")
    assert refused.value.exit_code == 65
    assert not (tmp_path / "data").exists()


def test_the_wheel_gives_its_atomic_files_and_nothing_else(tmp_path: Path) -> None:
    inside = "recbole/dataset_example/ml-100k/ml-100k"
    members = {f"{inside}.inter": INTER, f"{inside}.item": ITEM, f"{inside}.kg": b"x", "recbole/__init__.py": b"x"}
    wheel = zipped(tmp_path / "recbole-1.2.1-py3-none-any.whl", **members)
    folder = tmp_path / "data" / "recbole" / "ml-100k"
    report = import_data(wheel, data_dir=tmp_path / "data")
    placed = (str(folder / "ml-100k.inter"), str(folder / "ml-100k.item"))
    assert report == ImportReport("recbole", placed, f"recbole:{folder}")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"ml-100k.inter": INTER, "ml-100k.item": ITEM}
    assert import_data(wheel, data_dir=tmp_path / "data") == report


def test_a_folder_of_atomic_files_is_copied(tmp_path: Path) -> None:
    (tmp_path / "books.inter").write_bytes(INTER)
    (tmp_path / "books.item").write_bytes(ITEM)
    (tmp_path / "books.user").write_bytes(b"user_id:token\nu\n")
    report = import_data(tmp_path, data_dir=tmp_path / "data")
    assert report.source == f"recbole:{tmp_path / 'data' / 'recbole' / 'books'}"
    assert len(report.placed) == 3


def test_names_inside_a_zip_reach_nowhere_else(tmp_path: Path) -> None:
    evil = zipped(tmp_path / "evil.zip", **{"../../x.inter": INTER, "/abs/x.item": ITEM, "..\\x.user": b"y"})
    report = import_data(evil, data_dir=tmp_path / "data")
    folder = tmp_path / "data" / "recbole" / "x"
    assert report.placed == (str(folder / "x.inter"), str(folder / "x.item"))
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {evil, folder / "x.inter", folder / "x.item"}
    for name in ("..", ".hidden", "a\nb", "x y"):
        odd = zipped(tmp_path / "odd.zip", **{f"{name}.inter": INTER, f"{name}.item": ITEM})
        with pytest.raises(DataError, match="cannot name a folder"):
            import_data(odd, data_dir=tmp_path / "data")


def test_other_things_are_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match="no such file or folder"):
        import_data(tmp_path / "nowhere.zip", data_dir=tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match="not a zip file; import an official MovieLens zip"):
        import_data(tmp_path / "notes.txt", data_dir=tmp_path)
    with pytest.raises(DataError, match=r"holds no data set .*ml-100k\.zip.*the recbole wheel"):
        import_data(zipped(tmp_path / "x.zip", readme=b"x"), data_dir=tmp_path)
    two = {"a.inter": INTER, "a.item": ITEM, "b.inter": INTER, "b.item": ITEM}
    with pytest.raises(DataError, match=r"several data sets \(a, b\)"):
        import_data(zipped(tmp_path / "two.zip", **two), data_dir=tmp_path)


def test_a_damaged_member_leaves_nothing_behind(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", **{"x.inter": INTER * 50, "x.item": ITEM})
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"x\.inter: the zip file is damaged"):
        import_data(path, data_dir=tmp_path / "data")
    assert list((tmp_path / "data" / "recbole" / "x").iterdir()) == []


def test_the_default_directory_is_that_of_tensorflow_datasets() -> None:
    assert default_data_dir() == Path.home() / "tensorflow_datasets"
