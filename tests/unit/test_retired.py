"""The notes about runs that are out of the catalog on purpose."""

import pytest

from recbatch import publish, store
from recbatch.errors import StorageFailed
from recbatch.store import Lake

OLD, NEW, LAST = "2024-01-09.2", "2024-01-10.9", "2024-01-10.10"


@pytest.fixture
def lake(tmp_path):
    lake = Lake(tmp_path / "lake")
    lake.create()
    for run_id in (OLD, NEW, LAST):
        lake.run(run_id).mkdir()
        (lake.run(run_id) / "data").write_text("x")
    return lake


def note(reason, to=OLD):
    return {"reason": reason, "at": "2024-01-11T00:00:00+00:00", "to": to}


def test_without_a_file_nothing_is_retired(lake):
    assert publish.retired(lake) == {}
    publish.retire(lake, {})
    publish.reinstate(lake, [OLD])
    assert not lake.retired.exists(), "nothing to say, nothing written"


def test_a_note_is_kept_replaced_and_struck(lake):
    publish.retire(lake, {NEW: note("rolled_back")})
    publish.retire(lake, {LAST: note("collected"), OLD: note("rolled_back", to=None)})
    assert publish.retired(lake) == {
        NEW: note("rolled_back"), LAST: note("collected"), OLD: note("rolled_back", to=None)}  # fmt: skip
    assert list(publish.rolled_back(lake)) == [OLD, NEW], "by date and number, without what is being deleted"
    assert publish.rolled_back(lake)[NEW] == note("rolled_back")
    publish.retire(lake, {NEW: note("collected")})
    assert list(publish.rolled_back(lake)) == [OLD]
    publish.reinstate(lake, [NEW, "2020-01-01.1"])
    assert list(publish.retired(lake)) == [OLD, LAST]
    written = lake.retired.stat().st_mtime_ns
    publish.reinstate(lake, [NEW])
    assert lake.retired.stat().st_mtime_ns == written
    publish.retire(lake, {NEW: note("rolled_back"), LAST: note("rolled_back")})
    assert list(publish.rolled_back(lake)) == [OLD, NEW, LAST], "the tenth behind the ninth"


def test_the_file_is_checked_json_with_the_notes_under_runs(lake):
    publish.retire(lake, {NEW: note("rolled_back")})
    whole = store.read_checked_json(lake.retired)
    assert {key: value for key, value in whole.items() if key != "checksum"} == {"runs": {NEW: note("rolled_back")}}


@pytest.mark.parametrize("write", [lambda path: path.write_text("{"), lambda path: store.write_checked_json(path, {})])
def test_a_damaged_file_is_named_with_what_deleting_it_means(lake, write):
    write(lake.retired)
    with pytest.raises(StorageFailed) as told:
        publish.retired(lake)
    assert str(told.value) == (
        f"{lake.retired}: damaged; restore it from a backup, or delete it: runs that were rolled back are then live"
        " again, and `recbatch rollback` takes them out"
    )


def test_after_a_kill_the_catalog_is_right_and_notes_and_folders_follow(lake):
    publish.retire(lake, {OLD: note("collected"), NEW: note("rolled_back"), LAST: note("superseded")})
    publish.settle(lake, [NEW])
    assert not lake.run(OLD).exists(), "being deleted, so it goes"
    assert not lake.run(LAST).exists(), "replaced by a copy, so it goes"
    assert lake.run(NEW).is_dir()
    assert publish.retired(lake) == {}, "one stands in the catalog, the others are gone"


def test_what_is_being_deleted_but_stands_in_the_catalog_stays(lake):
    publish.retire(lake, {OLD: note("collected"), NEW: note("rolled_back")})
    publish.settle(lake, [OLD])
    assert lake.run(OLD).is_dir()
    assert publish.retired(lake) == {NEW: note("rolled_back")}, "rolled back and still there: it can come back"
