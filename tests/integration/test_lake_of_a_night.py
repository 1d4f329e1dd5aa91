"""What a night knows of its lake: repair, commit, parent, whether its date is done; and what its audit concludes."""

from datetime import date
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import _audit, _changes, _earlier, _lake, _run
from jobs._audit import Beside
from jobs._say import Say
from recbatch import publish, schemas, store, views, withdrawn
from recbatch.config import Config
from recbatch.contracts import NO_TIME, AuditResult, Events
from recbatch.errors import AuditFailed, DataError, StorageFailed
from tests.unit import _lake_fixture as rows_of
from tests.unit._lake_fixture import FIRST, SECOND

THIRD = "2026-03-03.1"
SETTINGS = Config().model_dump(mode="json")


@pytest.fixture
def lake(tmp_path):
    lake = store.Lake(tmp_path / "lake")
    rows_of.publish(lake, FIRST, config=SETTINGS, metrics=[], seconds={})
    rows_of.publish(lake, SECOND, rows_of.second_night(), parent=FIRST, config=SETTINGS, metrics=[], seconds={})
    return lake


def told(lake):
    return store.read_checked_json(lake.latest)


def test_a_commit_orders_the_runs_and_points_everybody_at_the_newest(lake):
    _lake.commit(lake, [SECOND, FIRST, SECOND])
    assert views.live_runs(lake) == [FIRST, SECOND]
    assert (told(lake)["run_id"], told(lake)["catalog_sha256"]) == (SECOND, store.sha256_file(lake.catalog))


def test_a_repair_of_a_sound_lake_changes_nothing(lake):
    _lake.commit(lake, [FIRST, SECOND])
    before = {path: path.stat().st_mtime_ns for path in lake.root.rglob("*") if path.is_file()}
    assert _lake.repair(lake) == [FIRST, SECOND]
    assert {path: path.stat().st_mtime_ns for path in lake.root.rglob("*") if path.is_file()} == before


def test_a_repair_of_an_empty_lake_finds_no_run(tmp_path):
    lake = store.Lake(tmp_path / "lake")
    lake.create()
    assert _lake.repair(lake) == []
    assert not lake.latest.exists()


def test_a_repair_adopts_what_was_promoted_and_empties_staging_and_progress(lake):
    _lake.commit(lake, [SECOND])
    (lake.staging / "left").mkdir()
    (lake.resume / "shards-key").mkdir(parents=True)
    assert _lake.repair(lake) == [FIRST, SECOND]
    assert not lake.resume.exists(), "the night it was kept for is published"
    assert views.live_runs(lake) == [FIRST, SECOND]
    assert told(lake)["run_id"] == SECOND
    assert list(lake.staging.iterdir()) == []


def test_a_repair_that_adopts_nothing_keeps_what_an_interrupted_night_had_finished(lake):
    _lake.commit(lake, [FIRST, SECOND])
    (lake.resume / "shards-key").mkdir(parents=True)
    assert _lake.repair(lake) == [FIRST, SECOND]
    assert (lake.resume / "shards-key").is_dir()


def test_a_repair_points_latest_json_at_what_the_catalog_shows(lake):
    _lake.commit(lake, [FIRST, SECOND])
    lake.latest.unlink()
    assert _lake.repair(lake) == [FIRST, SECOND]
    assert told(lake)["run_id"] == SECOND


def test_a_repair_tells_a_withdrawal_and_mends_a_changed_catalog(lake):
    _lake.commit(lake, [FIRST, SECOND])
    withdrawn.write(lake, {"2": "Brazil (1985)"})
    _lake.repair(lake)
    assert told(lake)["withdrawn"] == ["2"]
    with views.connect(lake) as con:
        assert con.execute("select count(*) from recommendations where item_id = '2'").fetchall() == [(0,)]
    sound = told(lake)["catalog_sha256"]
    with lake.catalog.open("ab") as file:
        file.write(b"x")
    _lake.repair(lake)
    assert told(lake)["catalog_sha256"] == store.sha256_file(lake.catalog)
    assert lake.catalog.stat().st_size > 0
    assert sound


def test_a_repair_deletes_copies_whose_original_still_stands(lake):
    _lake.commit(lake, [FIRST, SECOND])
    rows_of.publish(lake, "2026-03-02.2", supersedes=SECOND)
    assert _lake.repair(lake) == [FIRST, SECOND]
    assert not lake.run("2026-03-02.2").exists()


def test_a_repair_finishes_what_was_being_deleted_and_what_was_published_at_last(lake):
    _lake.commit(lake, [SECOND])
    publish.retire(lake, {FIRST: {"reason": "collected", "at": "2026-03-09T00:00:00+00:00", "to": None}})
    folder = rows_of.write_run(lake.blocked / SECOND)
    store.seal(folder, rows_of.head(SECOND))
    assert _lake.repair(lake) == [SECOND]
    assert not lake.run(FIRST).exists()
    assert publish.retired(lake) == {}
    assert list(lake.blocked.iterdir()) == []


def test_a_repair_goes_on_forgetting(lake):
    _lake.commit(lake, [SECOND])
    store.discard(lake, lake.run(FIRST))
    publish.remember(lake, "d")
    assert _lake.repair(lake) == ["2026-03-02.2"]
    assert publish.pending(lake) == []
    with views.connect(lake) as con:
        assert con.execute("select count(*) from users where user_id = 'd'").fetchall() == [(0,)]


def test_progress_and_kept_input_are_forgotten_where_they_are(lake):
    _lake.forget_progress(lake)
    _lake.forget_input(lake)
    for folder in (lake.resume, lake.cache):
        store.make_folder(folder / "x")
    _lake.forget_progress(lake)
    assert (lake.resume.exists(), lake.cache.exists()) == (False, True)
    _lake.forget_input(lake)
    assert not lake.cache.exists()


def test_the_parent_is_the_newest_run_of_an_earlier_date(lake):
    assert _lake.parent_of(lake, [FIRST, SECOND], date(2026, 3, 1)) is None
    assert _lake.parent_of(lake, [FIRST, SECOND], date(2026, 3, 2))["run_id"] == FIRST
    assert _lake.parent_of(lake, [FIRST, SECOND], date(2026, 3, 3))["run_id"] == SECOND


def test_a_night_is_about_the_run_that_stands_for_its_date_or_the_next_number(lake):
    day = date(2026, 3, 2)
    assert _lake.run_id_for(lake, [FIRST, SECOND], day, force=False) == SECOND
    assert _lake.run_id_for(lake, [FIRST, SECOND], day, force=True) == "2026-03-02.2"
    assert _lake.run_id_for(lake, [FIRST], date(2026, 3, 9), force=False) == "2026-03-09.1"


def test_a_date_is_done_and_says_what_differs(lake):
    config = Config()
    data = SimpleNamespace(run_date=date(2026, 3, 1), fingerprint="f")
    facts = {"fingerprint": "f", "config": config.model_dump(mode="json"), "rule_files": {"deny": {"sha256": "s"}}}
    store.seal(lake.run(FIRST), rows_of.head(FIRST) | facts)
    rule_files = {"deny": {"sha256": "s", "rows": 1}}
    assert _lake.done(lake, [SECOND], data, config, rule_files) is None
    same = _lake.done(lake, [FIRST, SECOND], data, config, rule_files)
    assert (same.manifest["run_id"], same.differences) == (FIRST, ())
    other = Config.model_validate({"seed": 8, "score": {"k": 7}, "train": {"epochs": 3}})
    data.fingerprint = "g"
    differ = _lake.done(lake, [FIRST], data, other, None).differences
    assert differ == ("the input", "a file of [rules]", "[seed]", "[train] epochs", "[score] k")


def test_a_setting_that_an_earlier_release_lacked_has_its_default(lake):
    config = Config()
    known = config.model_dump(mode="json")
    del known["audit"], known["rules"]
    store.seal(lake.run(FIRST), rows_of.head(FIRST) | {"fingerprint": "f", "config": known})
    data = SimpleNamespace(run_date=date(2026, 3, 1), fingerprint="f")
    assert _lake.done(lake, [FIRST], data, config, None).differences == ()


def staged(lake):
    folder = rows_of.write_run(publish.stage(lake, THIRD), rows_of.second_night() | {"audits": []})
    return folder, rows_of.head(THIRD, parent=SECOND, config=SETTINGS, metrics=[])


BESIDE = Beside(seen=lambda: None, rules=lambda: {})


def test_an_audit_compares_with_the_parent_and_writes_every_check(lake):
    _lake.commit(lake, [FIRST, SECOND])
    folder, head = staged(lake)
    measured = AuditResult("gate_judged", "warn", True)
    after, verdict = _audit.audit(lake, [FIRST, SECOND], folder, head, BESIDE, Config(), (measured,), None)
    assert (after["changes"]["users"], after["changes"]["compared"], after["changes"]["overlap"]) == (3, 3, 1.0)
    assert after["profile"]["cold_users"] == 1
    assert measured in verdict.results
    written = pq.read_table(folder / "audits").to_pylist()
    assert [row["check"] for row in written] == sorted(result.check for result in verdict.results)
    assert next(row for row in written if row["check"] == "recommendations_not_replaced")["passed"]
    assert (verdict.run_id, verdict.allow_degraded, verdict.blocked) == (THIRD, None, False)
    assert (folder / "lookup.arrow").stat().st_size > 0


def test_a_blocked_run_keeps_no_lookup_and_says_what_its_checks_found_not_what_stopped_the_lookup(lake):
    _lake.commit(lake, [FIRST, SECOND])
    folder, head = staged(lake)
    failed = AuditResult("certificate_recall", "error", False)
    _, verdict = _audit.audit(lake, [], folder, head, BESIDE, Config(), (failed,), None)
    assert verdict.blocked
    assert not (folder / "lookup.arrow").exists()
    items = folder / "items" / "part-00000.parquet"
    pq.write_table(pq.read_table(items).slice(1), items)
    _, verdict = _audit.audit(lake, [], folder, head, BESIDE, Config(), (), None)
    assert "recommendations_items_resolvable" in {result.check for result in verdict.failed}
    with pytest.raises(DataError, match="does not stand in items"):
        _audit.audit(lake, [], folder, head, BESIDE, Config(), (), "published in spite of all")


def test_a_first_run_has_no_changes_and_nothing_earlier(lake):
    folder, head = staged(lake)
    after, _ = _audit.audit(lake, [], folder, head | {"parent": None}, BESIDE, Config(), (), "because")
    assert after["changes"] is None
    details = {row["detail"] for row in pq.read_table(folder / "audits").to_pylist()}
    assert "no earlier run" in details


def test_a_passed_run_is_closed_with_report_and_is_what_readers_see(lake):
    _lake.commit(lake, [FIRST, SECOND])
    store.make_folder(lake.resume)
    folder, head = staged(lake)
    verdict = _run.Verdict(THIRD, (AuditResult("a", "warn", False, "1", "0"),), None)
    with Say() as say:
        night = _audit.close(lake, [FIRST, SECOND], folder, head, verdict, {"recommendations": 8}, say)
    assert list(say.seconds) == ["report", "publish"]
    assert views.live_runs(lake) == [FIRST, SECOND, THIRD]
    assert told(lake)["run_id"] == THIRD
    names = {path.name for path in lake.run(THIRD).iterdir()}
    assert {"report.html", "manifest.json"} <= names
    assert store.faults(lake.run(THIRD)) == []
    assert night.manifest["rows"] == {"recommendations": 8, "audits": 1}
    assert night.manifest["status"] == "published"
    assert not lake.resume.exists()


def test_a_failed_run_is_closed_in_blocked_and_readers_see_what_they_saw(lake):
    _lake.commit(lake, [FIRST, SECOND])
    folder, head = staged(lake)
    verdict = _run.Verdict(THIRD, (AuditResult("a", "error", False, "1", "0"),), None)
    with Say() as say, pytest.raises(AuditFailed, match=r"blocked by a: observed 1, expected 0; readers still see"):
        _audit.close(lake, [FIRST, SECOND], folder, head, verdict, {"recommendations": 8}, say)
    assert views.live_runs(lake) == [FIRST, SECOND]
    assert told(lake)["run_id"] == SECOND
    assert store.unseal(lake.blocked / THIRD)["status"] == "blocked"


def test_nothing_earlier_is_known_before_the_first_run(lake):
    assert _earlier.earlier(lake, [], rows_of.head(FIRST), None, Config()) == views.Earlier()


def test_earlier_runs_are_those_that_count_before_the_date_the_newest_first(lake):
    rows_of.publish(lake, "2026-03-02.2", rows_of.second_night(), n=2)
    rows_of.publish(lake, "2026-03-09.1")
    live = [FIRST, SECOND, "2026-03-02.2", "2026-03-09.1"]
    head = rows_of.head(THIRD, withdrawn=["2"])
    found = _earlier.earlier(lake, live, head, {"users": 1}, Config())
    assert [night["run_id"] for night in found.nights] == ["2026-03-02.2", FIRST]
    assert found.users.to_pylist() == ["a", "b'; drop", "d"]
    assert sorted(found.items.to_pylist()) == ["1", "10", "11", "3"], "without what is withdrawn tonight"
    assert sorted(found.listed.to_pylist()) == ["1", "10", "11", "2", "3"]
    assert found.changes == {"users": 1}
    one = Config.model_validate({"audit": {"runs_compared": 1}})
    assert [night["run_id"] for night in _earlier.earlier(lake, live, head, None, one).nights] == ["2026-03-02.2"]


def test_a_damaged_table_of_the_parent_is_named(lake):
    path = lake.run(SECOND) / "users" / "part-00000.parquet"
    path.write_bytes(b"x")
    with pytest.raises(StorageFailed, match=r"users/part-00000\.parquet: cannot be read \(.*\); run `recbatch verify`"):
        _earlier.earlier(lake, [FIRST, SECOND], rows_of.head(THIRD), None, Config())


def events(*days):
    times = np.array([np.datetime64(day, "us").astype(np.int64) if day else NO_TIME for day in days])
    ones = np.ones(len(times), np.float32)
    of_one_user = Events(np.array([0, len(times)]), np.zeros(len(times), np.int32), times, ones, ones * np.nan)
    return SimpleNamespace(events=of_one_user, run_date=date(2026, 3, 1), num_items=4)


def test_an_account_counts_the_days_of_five_weeks_and_the_newest(lake):
    tables = SimpleNamespace(columns={"items": {}})
    data = events("2026-02-28T23:59:59", "2026-02-28", "2026-01-25T00:00:00", "2026-01-24T23:59:59", "2020-01-01", None)
    assert _earlier.account(tables, data) == {
        "events": 6,
        "titles": 4,
        "newest_at": "2026-02-28T23:59:59.000000",
        "newest_day_events": 2,
        "days": {"2026-01-25": 1, "2026-02-28": 2},
        "columns": {"items": {}},
    }
    without = _earlier.account(tables, events(None))
    assert (without["newest_at"], without["newest_day_events"], without["days"]) == (None, None, {})


def changes(*rows):
    names = ("rows_before", "rows_after", "overlap", "rbo", "replaced", "entered", "dropped")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], pa.schema([
        ("rows_before", pa.int32()), ("rows_after", pa.int32()), ("overlap", pa.float64()), ("rbo", pa.float64()),
        ("replaced", pa.bool_()), ("entered", pa.list_(pa.string())), ("dropped", pa.list_(pa.string())),
    ]))  # fmt: skip


def test_changes_are_summed_over_users_with_a_list_in_both_runs():
    found = _changes.summary(changes(
        (3, 3, 1.0, 1.0, False, [], []),
        (3, 3, 0.0, 0.5, True, ["x", "y"], ["z"]),
        (0, 3, 0.0, 0.0, False, ["w"], []),
        (3, 0, 0.0, 0.0, False, [], ["v"]),
        (3, 2, 0.5, 0.75, False, ["y"], ["a", "z"]),
    ))  # fmt: skip
    assert found == {
        "users": 5, "compared": 3, "overlap": 0.5, "rbo": 0.75, "unchanged": 1, "replaced": 1, "without_list_before": 1,
        "entered": [{"title": "y", "users": 2}, {"title": "x", "users": 1}],
        "dropped": [{"title": "z", "users": 2}, {"title": "a", "users": 1}],
    }  # fmt: skip
    nobody = _changes.summary(changes((0, 3, 0.0, 0.0, False, ["w"], [])))
    assert (nobody["overlap"], nobody["rbo"], nobody["compared"], nobody["entered"]) == (None, None, 0, [])
    many = _changes.summary(changes((1, 1, 0.0, 0.0, True, [f"t{n}" for n in range(9)], [])))
    assert [row["title"] for row in many["entered"]] == [f"t{n}" for n in range(8)]


def test_changes_need_a_parent_and_somebody_to_compare(lake, monkeypatch):
    _lake.commit(lake, [FIRST])
    with views.over(lake.run(SECOND), rows_of.head(SECOND)) as con:
        assert _changes.since_parent(lake, con, rows_of.head(SECOND)) is None
        found = _changes.since_parent(lake, con, rows_of.head(SECOND, parent=FIRST))
        assert (found["users"], found["compared"], found["replaced"], found["without_list_before"]) == (4, 2, 1, 1)
        monkeypatch.setattr(_changes, "BLOCK", 1)
        monkeypatch.setattr(_changes, "BLOCKS", 2)
        assert _changes.since_parent(lake, con, rows_of.head(SECOND, parent=FIRST))["users"] == 3
    folder = rows_of.write_run(lake.staging / "x", {"users": [], "recommendations": [], "recommendations_buffer": []})
    with views.over(folder, rows_of.head(SECOND)) as con:
        assert _changes.since_parent(lake, con, rows_of.head(SECOND, parent=FIRST)) is None


def test_distinct_ids_come_from_every_row_group_once(tmp_path):
    with publish.TableWriter(tmp_path, schemas.USERS) as writer:
        for ids in (["a", "b"], ["b", "c"]):
            rows = [{"user_id": each, "interactions": 1, "first_at": rows_of.DAY, "last_at": None,
                     "status": "hot", "recommended": 1, "shortfall_reason": None} for each in ids]  # fmt: skip
            writer.write(pa.Table.from_pylist(rows, schema=schemas.arrow(schemas.USERS)))
            writer.next_file()
    assert _earlier._distinct(tmp_path / "users", "user_id").to_pylist() == ["a", "b", "c"]
    assert _earlier._distinct(tmp_path / "nothing", "user_id").to_pylist() == []
