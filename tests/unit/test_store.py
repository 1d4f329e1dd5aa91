"""Files appear whole, folders are sealed, the lock is one process's."""

import json
import os
import subprocess
import sys

import pytest

from recbatch import store
from recbatch.errors import InputMissing, LockHeld, StorageFailed, UsageError
from recbatch.store import Lake


def test_a_file_appears_whole_with_the_lakes_mode(tmp_path):
    path = tmp_path / "x"
    old = os.umask(0o777)
    try:
        store.write_bytes(path, b"one")
    finally:
        os.umask(old)
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x"
    store.write_bytes(path, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_checked_json_comes_back_and_any_change_is_found(tmp_path):
    path = tmp_path / "x.json"
    store.write_checked_json(path, {"b": [1, None], "a": "ü"})
    assert {key: value for key, value in store.read_checked_json(path).items() if key != "checksum"} == {
        "b": [1, None],
        "a": "ü",
    }
    text = path.read_text()
    path.write_text(text.replace("ü", "u"))
    with pytest.raises(StorageFailed, match="checksum does not match"):
        store.read_checked_json(path)
    path.write_text(text[:-20])
    with pytest.raises(StorageFailed, match="not readable as JSON"):
        store.read_checked_json(path)
    path.write_text("[]")
    with pytest.raises(StorageFailed):
        store.read_checked_json(path)
    with pytest.raises(InputMissing):
        store.read_checked_json(tmp_path / "missing.json")


def sealed(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "data.bin").write_bytes(bytes(range(256)))
    (folder / "note.txt").write_text("hello")
    store.seal(folder, {"run_id": "x"})
    return folder


def test_a_sealed_folder_is_sound_and_keeps_its_head(tmp_path):
    folder = sealed(tmp_path)
    manifest = store.unseal(folder)
    assert manifest["run_id"] == "x"
    assert sorted(manifest["files"]) == ["inner/data.bin", "note.txt"]
    assert (folder / "inner" / "data.bin").stat().st_mode & 0o777 == 0o640
    assert (folder / "inner").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("name", ["inner/data.bin", "note.txt", "manifest.json"])
def test_any_flipped_bit_is_found(tmp_path, name):
    folder = sealed(tmp_path)
    path = folder / name
    content = bytearray(path.read_bytes())
    for place in range(0, len(content), 37):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert store.faults(folder), (name, place)
    path.write_bytes(content)
    assert store.faults(folder) == []


def test_a_missing_or_foreign_file_is_found(tmp_path):
    folder = sealed(tmp_path)
    (folder / "extra").write_text("x")
    assert store.faults(folder) == [f"{folder / 'extra'}: not in the manifest"]
    (folder / "extra").unlink()
    (folder / "note.txt").unlink()
    with pytest.raises(StorageFailed, match="note\\.txt: missing"):
        store.unseal(folder)
    with pytest.raises(InputMissing):
        store.unseal(tmp_path / "nothing")


def test_a_second_process_cannot_hold_the_lock_and_the_kernel_frees_it(tmp_path):
    lake = Lake(tmp_path / "lake")
    hold = "import sys; from pathlib import Path; from recbatch import store\nwith store.locked(store.Lake(Path(sys.argv[1]))):\n print('held', flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(lake.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(LockHeld, match=f"process {other.pid}"), store.locked(lake):
        pass
    other.kill()
    other.wait()
    other.stdin.close()
    other.stdout.close()
    with store.locked(lake):
        pass


@pytest.mark.parametrize(
    "text", ["", "x", "2024-01-01", "2024-01-01.0", "2024-01-01.1/..", "../2024-01-01.1", "2024-01-01.1\n"]
)
def test_only_run_ids_become_paths(tmp_path, text):
    with pytest.raises(UsageError, match="no run id"):
        Lake(tmp_path).run(text)


def test_runs_stand_in_order_of_date_and_number():
    runs = ["2024-01-10.1", "2024-01-09.10", "2024-01-09.9"]
    assert sorted(runs, key=store.run_key) == ["2024-01-09.9", "2024-01-09.10", "2024-01-10.1"]


def test_canonical_json_is_one_text_per_value():
    assert store.canonical({"b": 1, "a": "é"}) == '{"a":"é","b":1}'.encode()
    with pytest.raises(ValueError, match="Out of range"):
        store.canonical({"a": float("nan")})
    assert json.loads(store.canonical({"a": 1.5})) == {"a": 1.5}
