"""Runs that leave the catalog: rolled back and back again, collected, compared, rewritten without a user."""

import json
import shutil
import time
from datetime import UTC, date, datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbatch import publish, sources, store, views
from recbatch.config import Source
from recbatch.store import Lake

from .conftest import WORLD, Cli
from .test_nights import published_rows, state


@pytest.fixture(scope="session")
def _three(tmp_path_factory, _base):
    root = tmp_path_factory.mktemp("three")
    (root / "elsewhere").mkdir()
    shutil.copytree(_base, root / "lake")
    cli = Cli(root / "elsewhere", root / "lake")
    cli.night("2020-02-02")
    cli.night("2020-02-03")
    return root / "lake"


@pytest.fixture
def three(cli, _three):
    """A lake of the test's own with 2020-02-01 to 03 published."""
    shutil.copytree(_three, cli.lake)
    return Lake(cli.lake)


ONE, TWO, THREE = "2020-02-01.1", "2020-02-02.1", "2020-02-03.1"


def live(cli):
    return [row["run_id"] for row in cli.rows("select run_id from runs order by run_date, number")]


def latest(cli):
    return json.loads((cli.lake / "latest.json").read_text())["run_id"]


def test_readers_go_back_and_forward_again(cli, three):
    before, rows = state(cli.lake), published_rows(cli.lake)
    assert json.loads(cli("rollback", "--json").stdout) == {"run_id": TWO, "out": [THREE], "back": []}
    assert live(cli) == [ONE, TWO]
    assert latest(cli) == TWO
    assert not published_rows(cli.lake).equals(rows)
    assert (cli.lake / "runs" / THREE / "manifest.json").is_file()
    listed = json.loads(cli("runs", "--json").stdout)
    assert [(run["run_id"], run["status"]) for run in listed] == [
        (TWO, "published"),
        (ONE, "published"),
        (THREE, "rolled_back"),
    ]
    assert cli("rollback", THREE).stdout == f"readers see {THREE}; {THREE} back\n"
    after = state(cli.lake)
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {
        "catalog.duckdb",
        "latest.json",  # it names the catalog's sha256
    }
    assert published_rows(cli.lake).equals(rows)
    assert "nothing to do" in cli("rollback", THREE).stdout
    assert cli("verify").returncode == 0


def test_what_left_together_comes_back_together(cli, three):
    assert json.loads(cli("rollback", ONE, "--json").stdout)["out"] == [TWO, THREE]
    assert live(cli) == [ONE]
    assert json.loads(cli("rollback", THREE, "--json").stdout)["back"] == [TWO, THREE]
    assert live(cli) == [ONE, TWO, THREE]


def test_a_rolled_back_date_is_not_done_and_runs_again_under_the_next_number(cli, three):
    cli("rollback")
    again = cli.night("2020-02-03")
    assert again["run_id"] == "2020-02-03.2"
    assert live(cli) == [ONE, TWO, "2020-02-03.2"], "the rolled-back run is not adopted"
    assert cli.night("2020-02-03")["note"] == "already published, nothing to do"


def test_rollback_says_what_it_cannot_do(cli, three):
    assert "no such run on record" in cli("rollback", "2020-02-09.1", code=66).stderr
    assert "no run id" in cli("rollback", "yesterday", code=2).stderr
    cli("rollback", ONE)
    assert "nothing to go back to" in cli("rollback", code=65).stderr
    (cli.lake / "runs" / THREE / "report.html").write_text("damaged")
    assert "sha256 differs" in cli("rollback", THREE, code=74).stderr
    assert live(cli) == [ONE]
    assert "no published run here" in Cli(cli.directory, cli.lake / "none")("rollback", code=66).stderr


def test_a_kill_on_either_side_of_the_commit_leaves_one_of_two_states(cli, three):
    note = {"reason": publish.ROLLED_BACK, "at": "2020-02-04T00:00:00+00:00", "to": TWO}
    publish.retire(three, {THREE: note})  # killed before the catalog: nothing happened
    assert cli.night("2020-02-03")["note"] == "already published, nothing to do"
    assert publish.retired(three) == {}
    publish.retire(three, {THREE: note})
    views.write_catalog(three, [ONE, TWO])  # killed before latest.json: done
    assert cli.night("2020-02-02")["note"] == "already published, nothing to do"
    assert (live(cli), latest(cli)) == ([ONE, TWO], TWO)
    three.catalog.unlink()
    assert cli.night("2020-02-02")["note"] == "already published, nothing to do"
    assert live(cli) == [ONE, TWO], "a rebuilt catalog leaves out what was rolled back"


def test_a_damaged_record_of_retired_runs_adopts_nothing(cli, three):
    cli("rollback")
    three.retired.write_text("{}")
    assert "retired.json" in cli("verify", code=74).stdout
    said = cli.night("2020-02-04", code=74)
    assert "retired.json: damaged; restore it from a backup, or delete it" in said
    assert live(cli) == [ONE, TWO]
    assert store.faults(cli.lake / "runs" / THREE) == []


NOW = ["--set", "gc.keep_days=0", "--set", "gc.keep_runs=1"]


def test_gc_deletes_only_what_is_beyond_both_limits(cli, three):
    before = state(cli.lake)
    for limits in ([], ["--set", "gc.keep_days=0"], ["--set", "gc.keep_runs=1"]):
        assert cli("gc", *limits).stdout == "nothing to delete\n"
    time.sleep(1.1)  # the manifests' clock counts whole seconds
    listed = json.loads(cli("gc", *NOW, "--dry-run", "--json").stdout)
    assert listed["runs"] == [ONE, TWO]
    assert listed["bytes"] > 0
    assert "would delete runs" in cli("gc", *NOW, "--dry-run").stdout
    assert state(cli.lake) == before


def test_gc_keeps_the_record_and_readers_never_notice(cli, three):
    time.sleep(1.1)
    rows = published_rows(cli.lake)
    manifest = store.read_checked_json(three.run(ONE) / "manifest.json")
    done = json.loads(cli("gc", *NOW, "--json").stdout)
    assert (done["runs"], done["models"]) == ([ONE, TWO], []), "the model scored the run that stays"
    assert live(cli) == [THREE]
    assert [path.name for path in three.runs.iterdir()] == [THREE]
    assert published_rows(cli.lake).equals(rows)
    for view in ("recommendations_history", "run_diff", "runs", "audits"):
        cli.rows(f"select count(*) from {view}")
    kept = three.history / ONE
    assert store.faults(kept) == []
    assert store.read_checked_json(kept / "run.json") == manifest
    assert {path.name for path in kept.iterdir()} == {"run.json", "manifest.json", "metrics", "audits"}
    assert publish.retired(three) == {}
    assert cli("verify").returncode == 0
    assert cli.night("2020-02-01")["run_id"] == "2020-02-01.2", "the number of a deleted run is not given again"
    assert json.loads(cli("gc", "--set", "gc.keep_history_days=0", "--json").stdout)["history"] == [ONE, TWO]
    assert list(three.history.iterdir()) == []


def test_gc_deletes_models_of_deleted_runs_but_never_the_newest(cli, three):
    cli.night("2020-02-04", "--train", "always")
    cli("rollback", THREE)
    time.sleep(1.1)
    old, new = sorted(path.name for path in three.models.iterdir())
    decisions = three.models / "decisions"
    decisions.mkdir()
    for name in (old, new):
        (decisions / f"{name}-100.json").write_text("{}")
    assert json.loads(cli("gc", *NOW, "--json").stdout)["models"] == []
    cli("rollback", "2020-02-04.1")
    time.sleep(1.1)
    done = json.loads(cli("gc", *NOW, "--json").stdout)
    assert (done["runs"], done["models"]) == ([THREE], [old])
    assert [path.name for path in three.models.glob("m-*")] == [new]
    assert [path.name for path in decisions.iterdir()] == [f"{new}-100.json"]
    assert live(cli) == ["2020-02-04.1"]


def test_a_kill_during_gc_is_finished_by_the_next_start(cli, three):
    note = {"reason": publish.COLLECTED, "at": "2020-02-04T00:00:00+00:00", "to": None}
    publish.archive(three, ONE, datetime(2020, 2, 4, tzinfo=UTC))
    publish.retire(three, {ONE: note})  # killed before the catalog
    assert cli.night("2020-02-03")["note"] == "already published, nothing to do"
    assert live(cli) == [ONE, TWO, THREE]
    publish.retire(three, {ONE: note})
    views.write_catalog(three, [TWO, THREE])  # killed before the folder went
    assert cli.night("2020-02-03")["note"] == "already published, nothing to do"
    assert not three.run(ONE).exists()
    assert publish.retired(three) == {}
    assert cli("verify").returncode == 0


def test_diff_says_what_changed_and_why_it_may_have(cli, three):
    cli.night("2020-02-03", "--force", "--k", "50")
    found = json.loads(cli("diff", ONE, "2020-02-03.2", "--json").stdout)
    with duckdb.connect(str(cli.lake / "catalog.duckdb"), read_only=True) as con:
        lists = "select user_id, list(item_id) from recommendations_history where run_id = ? group by user_id"
        a, b = (dict(con.execute(lists, [run_id]).fetchall()) for run_id in (ONE, "2020-02-03.2"))
    both = a.keys() & b.keys()
    kept = [len({*a[user]} & {*b[user]}) / max(len(a[user]), len(b[user])) for user in both]
    assert found["overlap"] == pytest.approx(sum(kept) / len(kept))
    assert found["users"] == len(both)
    assert found["replaced"] == sum(share == 0 for share in kept)
    assert (found["only_a"], found["only_b"]) == (len(a.keys() - b.keys()), len(b.keys() - a.keys()))
    assert found["config"] == {"score.k": {"a": 100, "b": 50}}
    assert found["metrics"]["ndcg@10"].keys() == {"a", "b"}
    assert found["dropped"][0]["lists"] > 0
    text = cli("diff", ONE, "2020-02-03.2").stdout
    assert "score.k: 100 became 50" in text
    assert "ndcg@10" in text
    assert "named twice" in cli("diff", TWO, TWO, code=2).stderr
    assert "no published run" in cli("diff", ONE, "2020-02-09.1", code=66).stderr


def traces(lake, user):
    """Every file of the lake that names the user, in its bytes, its Parquet values or statistics, or its Arrow values."""
    found = []
    for path in sorted(path for path in lake.rglob("*") if path.is_file()):
        named = user.encode() in path.read_bytes()
        if path.suffix == ".parquet":
            named |= any(user in str(value) for row in pq.read_table(path).to_pylist() for value in row.values())
            named |= user in str(pq.read_metadata(path).to_dict())
        if path.name == "lookup.arrow":
            with pa.memory_map(str(path)) as file:
                named |= user in str(pa.ipc.open_file(file).read_all().to_pylist())
        if named:
            found.append(str(path.relative_to(lake)))
    return found


def test_a_forgotten_user_is_nowhere_and_stays_away(cli, three, tmp_path):
    user = "forget-me-0042"
    folder = tmp_path / "source"
    source(folder, user)
    cli.night("2020-03-02", source=f"files:{folder}")
    checks = tmp_path / "checks"
    checks.mkdir()
    (checks / "named.sql").write_text(f"select user_id from users where user_id = '{user}'")
    cli.night("2020-03-03", "--set", f"audit.extra_checks={checks}", source=f"files:{folder}", code=65)
    cli.night(
        "2020-03-03",
        "--set",
        f"audit.extra_checks={checks}",
        "--allow-degraded",
        f"for {user}",
        "--force",
        source=f"files:{folder}",
    )
    cli.night("2020-03-04", source=f"files:{folder}")
    cli("rollback", "2020-03-03.2")
    found = {path.split("/")[0] for path in traces(cli.lake, user)}
    assert {"runs", "blocked", "catalog.duckdb"} <= found

    before = [row for row in cli.rows("select * from recommendations order by user_id, rank") if row["user_id"] != user]
    done = json.loads(cli("forget", user, "--json").stdout)
    assert done["runs"].keys() == {"2020-03-02.1", "2020-03-03.2", "2020-03-04.1"}, "not the runs that never met them"
    assert done["blocked"].keys() == {"2020-03-03.1"}
    assert traces(cli.lake, user) == []
    assert cli.rows("select * from recommendations order by user_id, rank") == before
    assert cli("verify").returncode == 0
    assert live(cli) == [ONE, TWO, THREE, "2020-03-02.2", done["runs"]["2020-03-03.2"]]
    assert (
        cli.rows(f"select parent from runs where run_id = '{done['runs']['2020-03-03.2']}'")[0]["parent"]
        == "2020-03-02.2"
    )
    assert list((cli.lake / "_staging").iterdir()) == []

    cli("rollback", done["runs"]["2020-03-04.1"])
    assert cli.night("2020-03-05", "--train", "always", source=f"files:{folder}")["counts"]["forgotten"] > 0
    assert traces(cli.lake, user) == [], "neither the next model nor its run"
    time.sleep(1.1)
    cli("gc", *NOW)
    assert "found in no run" in cli("forget", "nobody").stdout


def test_a_kill_while_forgetting_is_finished_by_the_next_start(cli, three):
    user = cli.rows("select min(user_id) as user_id from users where interactions > 0")[0]["user_id"]
    held = {path.name for path in three.runs.iterdir()}
    job = cli.start("forget", user)
    while {path.name for path in three.runs.iterdir()} == held and job.poll() is None:
        time.sleep(0.005)
    job.kill()
    job.communicate()
    assert cli.rows("select count(distinct run_id) as n from runs") == [{"n": 3}]
    cli.night("2020-02-03")
    for table in ("recommendations", "users", "holdout"):
        assert cli.rows(f"select count(*) as n from {table} where user_id = '{user}'") == [{"n": 0}]
    assert sorted(path.name for path in three.runs.iterdir()) == ["2020-02-01.2", "2020-02-02.2", "2020-02-03.2"]
    assert json.loads(three.forgotten.read_text())["pending"] == []
    assert (live(cli), latest(cli)) == (["2020-02-01.2", "2020-02-02.2", "2020-02-03.2"], "2020-02-03.2")
    assert cli("verify").returncode == 0


def source(folder, user):
    """The small world as files, with one more user, one of whose events names an unknown title."""
    world = Source(uri=WORLD)
    tables = sources.read(world, before=date(2020, 3, 4), today=date(2026, 1, 1))
    folder.mkdir()
    item = tables.items["item_id"][0].as_py()
    own = [
        {"user_id": user, "item_id": name, "occurred_at": datetime(2020, 1, 10 + at)}  # noqa: DTZ001 - UTC
        for at, name in enumerate([item, "?"])
    ]
    more = pa.Table.from_pylist(own, schema=pa.schema([tables.interactions.schema.field(at) for at in range(3)]))
    pq.write_table(pa.concat_tables([tables.interactions.select([0, 1, 2]), more]), folder / "interactions.parquet")
    pq.write_table(tables.items, folder / "items.parquet")
