"""Machine code that outlives its process: what is kept, what is run again, and what is never run."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from recbatch import _compiling, compile_time, kernels


def first_of(numbers, more):
    return numbers[0] + more


def added():
    """A kernel that has run in no process yet."""
    return kernels.Kernel("added", "int64(int64[::1], int64)", lambda: first_of)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "_folder", [])
    kernels.keep_in(tmp_path / "kernels")
    return tmp_path / "kernels"


def kept(folder) -> Path:
    assert added()(np.array([40]), 2) == 42
    (path,) = folder.iterdir()
    return path


def is_run(path, monkeypatch):
    """Whether the code in the file is run, rather than compiled again."""
    with monkeypatch.context() as patch:
        patch.setattr(kernels.Kernel, "_compiled", lambda self: pytest.fail("compiled"))
        try:
            return added()(np.array([1]), 1) == 2
        except pytest.fail.Exception:
            return False


def test_two_that_compile_beside_each_other_take_no_longer_than_one(folder):
    before = compile_time.seconds()
    began = time.monotonic()
    with ThreadPoolExecutor(2) as threads:
        made = [kernels.Kernel(name, "int64(int64[::1], int64)", lambda: first_of) for name in ("one", "other")]
        assert list(threads.map(lambda kernel: kernel(np.array([40]), 2), made)) == [42, 42]
    assert 0 < compile_time.seconds() - before <= time.monotonic() - began


def test_what_compiling_took_is_told_and_kept_code_takes_nothing(folder):
    before = compile_time.seconds()
    kept(folder)
    after = compile_time.seconds()
    assert after > before
    assert added()(np.array([1]), 1) == 2
    assert compile_time.seconds() == after


def test_code_is_kept_for_its_owner_and_readers_of_the_group(folder, monkeypatch):
    before = os.umask(0)
    try:
        path = kept(folder)
    finally:
        os.umask(before)
    assert (path.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o640, 0o750)
    assert is_run(path, monkeypatch)
    assert not kernels.damage([path])


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_damaged_code_is_named_never_run_and_replaced(folder, damage, monkeypatch):
    path = kept(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage is None else damage)
    assert kernels.damage([path]) == [f"{path}: not what was written; delete it"]
    assert not is_run(path, monkeypatch)
    assert kept(folder) == path
    assert is_run(path, monkeypatch)
    assert not kernels.damage([path])


@pytest.mark.parametrize("bit", [0o020, 0o002])
@pytest.mark.parametrize("whose", ["file", "folder"])
def test_code_that_others_may_write_is_not_run(folder, bit, whose, monkeypatch):
    path = kept(folder)
    target = path if whose == "file" else folder
    target.chmod(target.stat().st_mode | bit)
    assert not is_run(path, monkeypatch)


@pytest.mark.parametrize("whose", ["file", "folder"])
def test_code_of_another_user_is_not_run(folder, whose, monkeypatch):
    path = kept(folder)
    other = os.stat_result
    target, lstat = path if whose == "file" else folder, Path.lstat

    def of_another(self):
        facts = lstat(self)
        return other((*facts[:4], os.geteuid() + 1, *facts[5:])) if self == target else facts

    monkeypatch.setattr(Path, "lstat", of_another)
    assert not is_run(path, monkeypatch)


def test_a_link_to_code_is_not_run(folder, tmp_path, monkeypatch):
    path = kept(folder)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert not is_run(path, monkeypatch)


def test_code_of_other_sources_is_replaced_and_that_of_other_machines_stays(folder, monkeypatch):
    old = kept(folder)
    machine, made_of = kernels._origin()
    monkeypatch.setattr(kernels, "_origin", lambda: ("another", made_of))
    assert added()(np.array([40]), 2) == 42
    monkeypatch.setattr(kernels, "_origin", lambda: (machine, "changed"))
    assert added()(np.array([40]), 2) == 42
    assert {path.name for path in folder.iterdir()} == {f"added.another.{made_of}.o", f"added.{machine}.changed.o"}
    assert not old.exists()


def test_where_nothing_can_be_kept_loops_are_compiled_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(kernels, "_folder", [])
    assert added()(np.array([40]), 2) == 42
    (tmp_path / "file").touch()
    kernels.keep_in(tmp_path / "file")
    assert added()(np.array([40]), 2) == 42
    kernels.keep_in(tmp_path / "gone" / "kernels")
    assert added()(np.array([40]), 2) == 42
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_where_code_is_kept_it_is_used_from_the_start(folder, monkeypatch):
    kernels.keep_in(folder)
    assert not _compiling.is_due(1.0)
    kept(folder)
    monkeypatch.setattr(_compiling, "_done", [0.0])
    kernels.keep_in(folder)
    assert _compiling.is_due(1.0)


@pytest.mark.parametrize(
    "numbers", [np.array([1], np.int32), np.array([[1]]), np.arange(4)[::2]], ids=["type", "shape", "order"]
)
def test_an_array_of_another_kind_is_refused(numbers):
    with pytest.raises(TypeError, match=r"kernel added: .* expected int64 of 1 axis in C order"):
        added()(numbers, 1)
