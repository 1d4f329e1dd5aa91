"""What nobody needs any more, and what stays of a deleted run."""

from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from recbatch import publish, store
from recbatch.config import Gc
from recbatch.store import Lake
from tests.unit import _lake_fixture as rows_of
from tests.unit._lake_fixture import FIRST, SECOND

NOW = datetime(2026, 3, 9, 4, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path):
    lake = Lake(tmp_path / "lake")
    rows_of.publish(lake, FIRST)
    rows_of.publish(lake, SECOND, model_id="m-2")
    return lake


def model(lake, name, **head):
    folder = lake.models / name
    store.make_folder(folder)
    store.seal(folder, head)
    return folder


def test_a_model_goes_when_no_kept_run_names_it_unless_it_is_the_newest(lake):
    _, second, third = (model(lake, f"m-{n}", trained_before=f"2026-03-0{n}") for n in (1, 2, 3))
    assert publish.unused_models(lake, []) == [lake.models / "m-1"]
    assert publish.unused_models(lake, [SECOND]) == [lake.models / "m-1", second]
    store.discard(lake, third)
    assert publish.unused_models(lake, [SECOND]) == [lake.models / "m-1"], "m-2 is the newest"
    blocked = rows_of.write_run(publish.stage(lake, "2026-03-03.1"))
    store.seal(blocked, rows_of.head("2026-03-03.1", model_id="m-1"))
    publish.block(lake, blocked)
    assert publish.unused_models(lake, []) == [], "a blocked run may be audited again"


def test_the_newest_model_is_told_by_its_day_then_by_its_name_and_a_damaged_one_is_old(lake):
    model(lake, "m-a", trained_before="2026-03-02")
    model(lake, "m-b", trained_before="2026-03-01")
    model(lake, "m-c", trained_before="2026-03-02")
    damaged = model(lake, "m-d", trained_before="2026-04-01")
    (damaged / store.MANIFEST).write_text("{")
    (lake.models / "decisions").mkdir()
    assert [path.name for path in publish.unused_models(lake, [])] == ["m-a", "m-b", "m-d"]


def test_without_models_none_is_unused(lake):
    assert publish.unused_models(lake, []) == []


def test_kept_rows_stay_while_the_live_run_names_their_file(lake):
    for name, sha256 in (("one", "a"), ("two", "b")):
        store.make_folder(lake.cache / name)
        store.seal(lake.cache / name, {"file_sha256": sha256})
    store.make_folder(lake.cache / "zero")  # without a manifest
    inputs = {"inputs": [{"sha256": "b"}]}
    assert [path.name for path in publish.unused_input(lake, inputs)] == ["one", "zero"]
    assert [path.name for path in publish.unused_input(lake, None)] == ["one", "two", "zero"]
    assert [path.name for path in publish.unused_input(lake, {})] == ["one", "two", "zero"]


def test_an_archive_is_sealed_and_holds_manifest_metrics_and_audits(lake):
    folder = publish.archive(lake, FIRST, NOW)
    assert folder == lake.history / FIRST
    head = store.unseal(folder)
    assert (head["run_id"], head["run_date"], head["deleted_at"]) == (FIRST, "2026-03-01", "2026-03-09T04:00:00+00:00")
    assert sorted(path.name for path in folder.iterdir()) == ["audits", "manifest.json", "metrics", "run.json"]
    assert store.read_checked_json(folder / "run.json") == store.read_checked_json(lake.run(FIRST) / store.MANIFEST)
    for table in ("metrics", "audits"):
        assert pq.read_table(folder / table).equals(pq.read_table(lake.run(FIRST) / table))
    assert list(lake.staging.iterdir()) == []


def test_a_whole_archive_is_left_alone_and_a_damaged_one_is_made_anew(lake):
    first = publish.archive(lake, FIRST, NOW).stat().st_ino
    assert publish.archive(lake, FIRST, NOW.replace(day=10)).stat().st_ino == first
    assert store.unseal(lake.history / FIRST)["deleted_at"] == NOW.isoformat()
    (lake.history / FIRST / "run.json").write_text("{}")
    publish.archive(lake, FIRST, NOW.replace(day=10))
    assert store.unseal(lake.history / FIRST)["deleted_at"] == "2026-03-10T04:00:00+00:00"


def test_an_archive_expires_after_its_days_and_an_unreadable_one_does_not(lake):
    publish.archive(lake, FIRST, NOW)
    (publish.archive(lake, SECOND, NOW) / store.MANIFEST).write_text("{")
    settings = Gc(keep_history_days=400)
    assert publish.expired_history(lake, settings, datetime(2027, 4, 13, 4, tzinfo=UTC)) == []
    assert publish.expired_history(lake, settings, datetime(2027, 4, 13, 5, tzinfo=UTC)) == [lake.history / FIRST]
