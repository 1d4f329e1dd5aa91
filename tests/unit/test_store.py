"""Files appear whole, folders are sealed, the lock is one process's."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

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


def test_every_path_of_a_lake(tmp_path):
    lake = Lake(tmp_path)
    named = {
        "catalog": "catalog.duckdb", "latest": "latest.json", "runs": "runs", "blocked": "blocked", "models": "models",
        "history": "history", "outcomes": "outcomes", "tuning": "tuning", "retired": "retired.json",
        "forgotten": "forgotten.json", "staging": "_staging", "resume": "_resume", "cache": "_cache",
        "kernels": "_kernels",
    }  # fmt: skip
    assert {name: getattr(lake, name) for name in named} == {name: tmp_path / path for name, path in named.items()}
    assert lake.run("2024-01-01.1") == tmp_path / "runs" / "2024-01-01.1"
    lake.create()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_staging", "blocked", "models", "runs"]
    with pytest.raises(InputMissing) as told:
        lake.require()
    assert str(told.value) == f"{tmp_path}: no published run here; run `recbatch nightly --lake {tmp_path}` first"
    lake.catalog.write_bytes(b"")
    lake.require()


def test_what_is_wrong_is_told_in_whole_sentences(tmp_path):
    path = tmp_path / "x.json"
    with pytest.raises(InputMissing) as told:
        store.read_checked_json(path)
    assert str(told.value) == f"{path}: no such file; run `recbatch verify`"
    path.write_text("{}")
    with pytest.raises(StorageFailed) as told:
        store.read_checked_json(path)
    sentence = f"{path}: its checksum does not match its content; restore it or run `recbatch nightly`"
    assert str(told.value) == sentence
    path.write_text("{")
    with pytest.raises(StorageFailed) as told:
        store.read_checked_json(path)
    assert str(told.value).startswith(f"{path}: not readable as JSON (Expecting property name")
    assert str(told.value).endswith("); restore it or run `recbatch nightly`")
    with pytest.raises(UsageError) as told:
        store.checked_run_id("x")
    assert str(told.value) == ("'x' is no run id: expected YYYY-MM-DD.N, e.g. 1998-04-23.1; `recbatch runs` lists them")


def test_a_sound_text_spelled_otherwise_is_a_changed_file(tmp_path):
    path = tmp_path / "x.json"
    whole = store.write_checked_json(path, {"a": 1, "checksum": "an older one"})
    assert path.read_text() == f'{{\n "a": 1,\n "checksum": "{whole["checksum"]}"\n}}\n'
    path.write_text(json.dumps(whole))
    with pytest.raises(StorageFailed, match="its checksum does not match"):
        store.read_checked_json(path)
    with pytest.raises(ValueError, match="Out of range"):
        store.write_checked_json(path, {"a": float("inf")})


def test_every_fault_of_a_sealed_folder_is_one_line(tmp_path):
    folder = sealed(tmp_path)
    (folder / "note.txt").write_text("hallo")
    (folder / "inner" / "data.bin").unlink()
    (folder / "inner" / "more").write_text("x")
    assert store.faults(folder) == [
        f"{folder / 'inner' / 'data.bin'}: missing, 256 bytes expected",
        f"{folder / 'note.txt'}: sha256 differs from the manifest",
        f"{folder / 'inner' / 'more'}: not in the manifest",
    ]
    with pytest.raises(StorageFailed) as told:
        store.unseal(folder)
    assert str(told.value) == (
        f"{folder / 'inner' / 'data.bin'}: missing, 256 bytes expected; restore it from a backup or let the next night"
        " make a new one"
    )
    (folder / store.MANIFEST).unlink()
    assert store.faults(folder) == [f"{folder / store.MANIFEST}: no such file; run `recbatch verify`"]
    with pytest.raises(InputMissing) as told:
        store.unseal(tmp_path / "nothing")
    assert str(told.value) == (
        f"{tmp_path / 'nothing'}: no such folder; `recbatch runs` and `recbatch status` list what there is"
    )


def test_a_manifest_lists_every_file_with_size_and_sha256(tmp_path):
    folder = sealed(tmp_path)
    manifest = store.read_checked_json(folder / store.MANIFEST)
    assert manifest["files"] == {
        "inner/data.bin": {"bytes": 256, "sha256": hashlib.sha256(bytes(range(256))).hexdigest()},
        "note.txt": {"bytes": 5, "sha256": hashlib.sha256(b"hello").hexdigest()},
    }
    assert list(manifest["files"]) == ["inner/data.bin", "note.txt"]
    assert store.sha256_text("ü") == hashlib.sha256("ü".encode()).hexdigest()
    assert (folder / store.MANIFEST).stat().st_mode & 0o777 == 0o640


def test_folders_are_made_with_their_parents_and_the_lakes_mode(tmp_path):
    old = os.umask(0o077)
    try:
        store.make_folder(tmp_path / "a" / "b")
    finally:
        os.umask(old)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o750, 0o750]
    (tmp_path / "a" / "b").chmod(0o700)
    store.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700, "what is there is left alone"


def test_emptying_a_folder_follows_no_link(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    for each in (outside, folder / "inner"):
        each.mkdir(parents=True)
        (each / "file").write_text("x")
    (folder / "link").symlink_to(outside)
    (folder / "file").write_text("x")
    store.empty_folder(folder)
    assert list(folder.iterdir()) == []
    assert (outside / "file").read_text() == "x"


def test_a_link_is_the_same_file_and_a_copy_where_there_are_no_links(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.write_bytes(b"x")
    store.link(source, tmp_path / "linked")
    assert (tmp_path / "linked").stat().st_ino == source.stat().st_ino

    def refused(*arguments):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(type(source), "hardlink_to", refused)
    store.link(source, tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"x"
    assert (tmp_path / "copied").stat().st_ino != source.stat().st_ino


def test_discarding_goes_through_staging_also_where_a_kill_left_something_there(tmp_path, monkeypatch):
    lake = Lake(tmp_path)
    lake.create()
    for _ in range(2):
        store.make_folder(lake.run("2024-01-01.1") / "inner")
        store.make_folder(lake.staging / "runs-2024-01-01.1.gone" / "left")
        store.discard(lake, lake.run("2024-01-01.1"))
        assert list(lake.runs.iterdir()) == list(lake.staging.iterdir()) == []
    store.make_folder(lake.run("2024-01-01.1"))
    monkeypatch.setattr(store.shutil, "rmtree", lambda path: None)
    store.discard(lake, lake.run("2024-01-01.1"))
    assert [path.name for path in lake.staging.iterdir()] == ["runs-2024-01-01.1.gone"]


def test_a_move_forces_both_folders_to_disk_and_refuses_a_taken_place(tmp_path, monkeypatch):
    forced = []
    monkeypatch.setattr(store, "fsync_path", forced.append)
    for name in ("a/x", "b", "c/y"):
        (tmp_path / name).mkdir(parents=True)
    store.move_folder(tmp_path / "a" / "x", tmp_path / "b" / "x")
    assert (tmp_path / "b" / "x").is_dir()
    assert forced == [tmp_path / "b", tmp_path / "a"]
    (tmp_path / "b" / "x" / "file").write_text("x")
    with pytest.raises(OSError, match="not empty"):
        store.move_folder(tmp_path / "c" / "y", tmp_path / "b" / "x")


def test_sealing_forces_every_file_and_folder_to_disk(tmp_path, monkeypatch):
    forced = []
    monkeypatch.setattr(store, "fsync_path", forced.append)
    folder = sealed(tmp_path)
    assert forced[:3] == [folder / "inner", folder / "inner" / "data.bin", folder / "note.txt"]
    assert forced[3:] == [folder, folder], "after the manifest's rename, and at the end"


def test_a_sync_that_fails_names_the_path(tmp_path, monkeypatch):
    def broken(handle):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output") as told:
        store.fsync_path(tmp_path)
    assert told.value.filename == str(tmp_path)
    with pytest.raises(OSError, match="Input/output") as told:
        store.write_bytes(tmp_path / "x", b"")
    assert told.value.filename == str(tmp_path / "x")


def test_the_lock_names_its_holder_and_a_damaged_name_is_no_obstacle(tmp_path):
    with store.lock_of(tmp_path):
        assert (tmp_path / "_lock").read_text() == f"{os.getpid()}\n"
        assert (tmp_path / "_lock").stat().st_mode & 0o777 == 0o640
        with pytest.raises(LockHeld) as told, store.lock_of(tmp_path):
            pass
        assert str(told.value) == (
            f"{tmp_path}: another run holds the lock (process {os.getpid()}); wait for it to end, then run again"
        )
        (tmp_path / "_lock").write_bytes(b"")
        with pytest.raises(LockHeld, match="process unknown"), store.lock_of(tmp_path):
            pass
        (tmp_path / "_lock").write_bytes(b"\xff" * 30)
        with pytest.raises(LockHeld, match=r"process \ufffd{20}\)"), store.lock_of(tmp_path):
            pass
    with store.locked(Lake(tmp_path / "lake")):
        assert (tmp_path / "lake" / "_staging").is_dir()


def test_what_is_below_a_folder_is_what_rglob_finds(tmp_path):
    for name in ("b/2.txt", "b/c/3.txt", "a.txt", "b.d/1.txt", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert store.below(tmp_path) == sorted(tmp_path.rglob("*"))
    assert store.matching(tmp_path / "b", "*.txt") == [tmp_path / "b" / "2.txt"]
    assert store.matching(tmp_path / "nowhere") == store.matching(tmp_path / "a.txt") == []


def test_a_folder_that_may_not_be_read_is_no_empty_one(tmp_path, monkeypatch):
    def refused(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refused)
    for read in (store.matching, store.below, store.describe_files):
        with pytest.raises(PermissionError):
            read(tmp_path)
