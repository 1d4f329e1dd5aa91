"""One user out of what was written: rows, examples, words; and what stays linked because it never met them."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbatch import publish, schemas, store
from recbatch.errors import StorageFailed
from recbatch.publish.forgetting import mentions, rewrite_history, rewrite_outcomes
from recbatch.store import Lake


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, False),
        ("", False),
        ('{"user_id": "u1", "item_id": "7"}', True),
        ('{"user_id": " u1 "}', True),
        ('{"user_id": "u12", "item_id": "u1", "because_item_id": "u1"}', False),
        ('{"users": [{"a": ["u1"]}]}', True),
        ('["u2", ["u3"]]', False),
        ("user u1, and others", True),
        ("user u12", False),
        ("su1", False),
    ],
)
def test_a_text_names_a_user_as_a_value_or_as_a_word(text, named):
    assert mentions(text, "u1") is named


def test_an_id_that_json_reads_as_a_number_is_found_and_one_with_signs_is_no_pattern():
    assert mentions('{"user_id": 42}', "42")
    assert not mentions("u11", "u.1")
    assert mentions("(a+b)*", "a+b")


def realised(*users):
    rows = [
        {
            "user_id": user,
            "item_id": "7",
            "occurred_at": 0,
            "day": 1,
            "status": "hot",
            "served": 1,
            "rank": 1,
            "source": "model",
        }
        for user in users
    ]
    return pa.Table.from_pylist(rows, schema=schemas.arrow(schemas.REALISED))


@pytest.fixture
def lake(tmp_path):
    made = Lake(tmp_path / "lake")
    made.create()
    return made


def outcome(lake, number, *users):
    folder = lake.outcomes / "2024-01-01.1" / str(number)
    publish.write_table(folder, schemas.REALISED, realised(*users))
    store.seal(folder, {"run_id": "2024-01-01.1", "contract": 1})
    return folder


def test_the_newest_outcome_gets_a_successor_and_every_one_with_the_user_goes(lake):
    old, clean, newest = outcome(lake, 1, "a", "b"), outcome(lake, 2, "b"), outcome(lake, 3, "b", "a", "c")
    assert rewrite_outcomes(lake, "a") == [old, newest]
    fresh = lake.outcomes / "2024-01-01.1" / "4"
    assert store.unseal(fresh)["run_id"] == "2024-01-01.1"
    assert pq.read_table(fresh / "realised")["user_id"].to_pylist() == ["b", "c"]
    assert clean.is_dir()
    assert list(lake.staging.iterdir()) == []
    for folder in (old, newest):
        store.discard(lake, folder)
    assert rewrite_outcomes(lake, "a") == []


def audits(*details):
    rows = [
        {"check": f"c{at}", "severity": "warn", "passed": False, "observed": "1", "expected": "0", "detail": detail}
        for at, detail in enumerate(details)
    ]
    return pa.Table.from_pylist(rows, schema=schemas.arrow(schemas.AUDITS))


def test_what_is_left_of_deleted_runs_is_rewritten_in_place_and_sealed_again_even_after_a_kill(lake):
    folder = lake.history / "2024-01-01.1"
    detail = '{"user_id": "a"}'
    publish.write_table(folder, schemas.AUDITS, audits(detail, '{"user_id": "b"}'))
    run = {
        "audits": audits(detail).to_pylist(),
        "blocked_because": [f"c0: ({detail})"],
        "degraded_reason": "a asked",
        "files": {},
    }
    store.write_checked_json(folder / "run.json", run)
    store.seal(folder, {"run_id": "2024-01-01.1"})
    assert rewrite_history(lake, "nobody") == 0
    assert rewrite_history(lake, "a") == 1
    assert store.unseal(folder)["run_id"] == "2024-01-01.1"
    assert pq.read_table(folder / "audits")["detail"].to_pylist() == [None, '{"user_id": "b"}']
    left = store.read_checked_json(folder / "run.json")
    assert left["audits"][0]["detail"] is None
    assert (left["blocked_because"], left["degraded_reason"]) == (["c0: ([removed])"], "[removed] asked")
    (folder / "manifest.json").write_bytes((folder / "manifest.json").read_bytes())
    publish.write_table(
        folder, schemas.METRICS, schemas.arrow(schemas.METRICS).empty_table()
    )  # files changed, not sealed
    assert rewrite_history(lake, "a") == 1
    assert store.faults(folder) == []


def test_a_file_without_the_user_is_linked_and_one_with_is_written_anew(lake, tmp_path):
    source, target = tmp_path / "run", tmp_path / "copy"
    with publish.TableWriter(source, schemas.REALISED) as writer:
        for users in (["a", "b"], ["c"]):
            writer.write(realised(*users))
            writer.next_file()
    (source / "report.html").write_text("about a")
    store.seal(source, {})
    assert publish.copy_without(source, target, "a") == {"realised": 1}
    first, second = sorted((target / "realised").iterdir())
    assert pq.read_table(first)["user_id"].to_pylist() == ["b"]
    assert b"\x01a" not in first.read_bytes()
    assert second.stat().st_ino == (source / "realised" / second.name).stat().st_ino
    assert not (target / "report.html").exists(), "made anew from the tables"


def test_rejected_rows_that_name_the_user_go_and_others_stay(tmp_path):
    texts = ['{"user_id": "a"}', '{"user_id": "b"}', "a, and others", None]
    rows = [{"source_file": "x.csv", "row": n, "reason": "y", "content": text} for n, text in enumerate(texts)]
    known = schemas.QUARANTINE.column_names
    rows = [{name: row.get(name, "x.csv") for name in known} for row in rows]
    table = pa.Table.from_pylist(rows, schema=schemas.arrow(schemas.QUARANTINE))
    publish.write_table(tmp_path / "run", schemas.QUARANTINE, table)
    store.seal(tmp_path / "run", {})
    assert publish.copy_without(tmp_path / "run", tmp_path / "copy", "a") == {"quarantine": 2}
    left = pq.read_table(tmp_path / "copy" / "quarantine")
    assert left.equals(table.take([1, 3]))
    assert left.schema.equals(table.schema)


def test_the_record_holds_digests_and_the_id_only_while_it_works(lake):
    assert (publish.forgotten(lake), publish.pending(lake)) == (frozenset(), [])
    publish.remember(lake, "user-9")
    publish.remember(lake, "user-9")
    assert publish.pending(lake) == ["user-9"]
    publish.remember(lake, "user-8")
    assert publish.pending(lake) == ["user-8", "user-9"]
    publish.done(lake, "user-9")
    assert publish.pending(lake) == ["user-8"]
    publish.done(lake, "user-8")
    assert store.read_checked_json(lake.forgotten).keys() == {"sha256", "pending", "checksum"}
    lake.forgotten.unlink()
    publish.remember(lake, "user-9")
    publish.done(lake, "user-9")
    assert publish.forgotten(lake) == {store.sha256_text("user-9")}
    assert b"user-9" not in lake.forgotten.read_bytes()
    lake.forgotten.write_text("{}")
    with pytest.raises(StorageFailed):
        publish.forgotten(lake)


def test_a_head_loses_the_places_that_name_the_user_and_nothing_else():
    mine, other = '{"user_id": "a"}', '{"user_id": "b"}'
    manifest = {
        "run_id": "2024-01-01.1",
        "files": {"x": 1},
        "checksum": "c",
        "audits": [{"check": "c1", "detail": mine}, {"check": "c2", "detail": other}, {"check": "c3", "detail": None}],
        "blocked_because": [f"c1 ({mine})", f"c2 ({other})", f"{mine} {mine}"],
        "degraded_reason": "a asked, not ab",
    }
    assert publish.head_without(manifest, "a") == {
        "run_id": "2024-01-01.1",
        "audits": [{"check": "c1", "detail": None}, {"check": "c2", "detail": other}, {"check": "c3", "detail": None}],
        "blocked_because": ["c1 ([removed])", f"c2 ({other})", "[removed] [removed]"],
        "degraded_reason": "[removed] asked, not ab",
    }
    bare = {"run_id": "x", "blocked_because": None, "degraded_reason": None}
    assert publish.head_without(bare, "a") == bare | {"audits": [], "blocked_because": []}
    assert publish.head_without({}, "a") == {"audits": [], "blocked_because": []}


def kept_of(lake, run_id, detail, **run):
    folder = lake.history / run_id
    publish.write_table(folder, schemas.AUDITS, audits(detail))
    store.write_checked_json(folder / "run.json", {"files": {"x": 1}, "audits": [], "blocked_because": []} | run)
    store.seal(folder, {"run_id": run_id})
    return folder


def test_each_record_with_the_user_is_counted_and_a_manifest_keeps_its_list_of_files(lake):
    kept_of(lake, "2024-01-01.1", "about a")
    told = kept_of(lake, "2024-01-02.1", "about b", degraded_reason="a asked")
    kept_of(lake, "2024-01-03.1", "about c")
    assert rewrite_history(lake, "a") == 2
    left = store.read_checked_json(told / "run.json")
    assert (left["files"], left["degraded_reason"]) == ({"x": 1}, "[removed] asked")
    assert rewrite_history(lake, "a") == 0
    assert list(lake.staging.iterdir()) == []


def test_the_tenth_outcome_is_newer_than_the_ninth(lake):
    ninth, tenth = outcome(lake, 9, "b"), outcome(lake, 10, "a", "b")
    assert rewrite_outcomes(lake, "a") == [tenth]
    assert store.unseal(lake.outcomes / "2024-01-01.1" / "11")["contract"] == 1
    assert ninth.is_dir()


def test_an_audit_that_named_the_user_keeps_its_columns(tmp_path):
    publish.write_table(tmp_path / "run", schemas.AUDITS, audits("about a"))
    store.seal(tmp_path / "run", {})
    assert publish.copy_without(tmp_path / "run", tmp_path / "copy", "a") == {"audits": 1}
    left = pq.read_table(tmp_path / "copy" / "audits")
    assert left.schema.equals(audits("x").schema)
    assert left["detail"].to_pylist() == [None]
