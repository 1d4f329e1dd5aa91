"""What `recbatch doctor` says of each thing that is wrong; each finding names its cure."""

import errno
import fcntl
import shutil
import sys
import tempfile
from collections import namedtuple
from datetime import datetime, timedelta

import pytest

from jobs import _checkup
from recbatch import config
from recbatch.errors import ConfigError
from recbatch.sources import releases
from recbatch.store import Lake

Usage = namedtuple("Usage", "total used free")


def found(lake, check, settings=config.Config):
    [one] = [one for one in _checkup.examine(lake, settings) if one.check == check]
    assert one.outcome == _checkup.OK or one.cure
    return one.outcome, one.found


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path / "lake")


def of(uri, folder=None):
    chosen = {"source.uri": uri} | ({"source.data_dir": str(folder)} if folder else {})
    return lambda: config.load(overrides=chosen)


def test_versions(lake, monkeypatch):
    assert found(lake, "python")[0] == found(lake, "packages")[0] == "ok"
    monkeypatch.setattr(_checkup, "requires", lambda _: ["duckdb<1", "no-such-package>=2", "faiss-cpu; extra == 'x'"])
    outcome, said = found(lake, "packages")
    assert outcome == "fail"
    assert "duckdb" in said
    assert "no-such-package is missing, >=2 wanted" in said
    assert "faiss" not in said
    monkeypatch.setattr(sys, "version_info", (3, 9))
    assert found(lake, "python")[0] == "fail"


def test_processor(lake, monkeypatch, tmp_path):
    assert found(lake, "processor")[0] == "ok"
    (tmp_path / "cpuinfo").write_text("flags : sse4_2 avx2 popcnt\n")
    real = _checkup.Path
    monkeypatch.setattr(_checkup, "Path", lambda path: real(tmp_path / "cpuinfo" if path == "/proc/cpuinfo" else path))
    outcome, said = found(lake, "processor")
    assert outcome == "fail"
    assert said.endswith("without fma")


def test_memory(lake, monkeypatch):
    monkeypatch.setattr(_checkup, "_available_bytes", lambda: 2**30)
    assert found(lake, "memory") == ("warn", "1,024 MiB available, score.memory_budget 4,096 MiB")


def test_settings(lake):
    def unsound():
        raise ConfigError("unknown setting train.epoch")

    assert found(lake, "settings", unsound) == ("fail", "unknown setting train.epoch")


def test_input_and_data_cache(lake, tmp_path):
    assert found(lake, "input", of("sample"))[0] == "ok"
    assert found(lake, "input", of(f"files:{tmp_path}"))[0] == "ok"
    assert found(lake, "input", of("files:/nowhere"))[0] == "fail"
    cache = tmp_path / "data"
    movielens = of("movielens/latest-small", cache)
    assert found(lake, "input", movielens) == ("warn", f"movielens/latest-small is not in {cache}")
    [zip_name] = [one.file_name for one in releases.releases() if one.name == "latest-small"]
    manual = releases.manual_dir(cache)
    manual.mkdir(parents=True)
    (manual / zip_name).touch()
    assert "the zip lies in" in found(lake, "input", movielens)[1]
    for table in ("ratings", "movies"):
        (cache / "movielens" / f"latest-small-{table}").mkdir(parents=True)
    assert found(lake, "input", movielens) == ("ok", f"movielens/latest-small is prepared in {cache}")


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_permissions_and_a_full_disk(lake, monkeypatch, code):
    def refused(**_):
        raise OSError(code, "refused")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refused)
    assert found(lake, "lake folder") == ("fail", f"{lake.root.parent}: refused")
    assert found(lake, "temporary folder")[0] == "fail"


def test_disk(lake, monkeypatch):
    assert found(lake, "disk")[0] == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40, 2**29))
    outcome, said = found(lake, "disk")
    assert (outcome, said[:30]) == ("fail", "512 MiB free, 1,024 MiB wanted")


def test_clock(lake, monkeypatch):
    assert found(lake, "clock")[0] == "ok"

    class Late(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=1)

    monkeypatch.setattr(_checkup, "datetime", Late)
    outcome, said = found(lake, "clock")
    assert outcome == "fail"
    assert "3600 s off" in said


def test_lake_and_lock(lake):
    assert found(lake, "lake")[1].startswith("nothing is published")
    assert found(lake, "lock") == ("ok", "free")
    lake.create()
    with (lake.root / "_lock").open("w+") as held:
        held.write("4711")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        assert found(lake, "lock") == ("warn", "held by process 4711")
    assert found(lake, "lock") == ("ok", "free")
    lake.catalog.write_bytes(b"no catalog")
    assert found(lake, "lake")[0] == "fail"
