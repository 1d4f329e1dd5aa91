"""Whole nights through the command: laws 1 to 4, seen from outside with tools of the reader's own."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from recbatch import store

from ._laws import law_1, state
from .conftest import FAST, WORLD, Cli


def published_rows(lake):
    """The recommendations as a reader without DuckDB finds them."""
    latest = json.loads((lake / "latest.json").read_text())
    files = [lake / file["path"] for file in latest["tables"]["recommendations"]["files"]]
    return pyarrow.dataset.dataset(files).to_table()


def test_law_1_in_the_readers_own_sql(published):
    law_1(published.lake)
    with duckdb.connect(str(published.lake / "catalog.duckdb"), read_only=True) as con:
        assert con.execute("select count(*) from users").fetchone()[0] > 200
        assert con.execute("select distinct status from users order by 1").fetchall() == [
            ("cold",),
            ("hot",),
            ("warm",),
        ]


def test_every_view_and_macro_answers(published):
    with duckdb.connect(str(published.lake / "catalog.duckdb"), read_only=True) as con:
        views = {name for (name,) in con.execute("select view_name from duckdb_views() where not internal").fetchall()}
        wanted = {
            "recommendations", "recommendations_by_user", "recommendations_history", "recommendations_buffer", "similar_items",
            "popular", "users", "items", "holdout", "runs", "metrics", "audits", "quarantine", "run_diff",
        }  # fmt: skip
        assert wanted <= views
        for view in sorted(wanted - {"quarantine"}):
            assert con.execute(f"select count(*) from {view}").fetchone()[0] > 0, view
        user = con.execute("select min(user_id) from recommendations").fetchone()[0]
        known = con.execute("select * from recs_for(?) order by rank", [user]).fetchall()
        assert known == con.execute("select * from recommendations where user_id = ? order by rank", [user]).fetchall()
        assert len(con.execute("select * from recs_for('nobody') order by rank").fetchall()) == 100
        assert con.execute("select count(*) from runs").fetchone() == (2,)
        assert con.execute("select count(distinct run_date) from recommendations_history").fetchone() == (2,)
        comments = con.execute("select view_name from duckdb_views() where not internal and comment is null").fetchall()
        assert comments == []


def test_the_second_night_reloads_the_first_nights_model(published):
    one, two = published.rows("select model_id, run_date, trained_before from runs order by run_date")
    assert one["model_id"] == two["model_id"]
    assert two["trained_before"] == one["trained_before"] == one["run_date"]


def test_a_rerun_is_a_no_op_and_force_publishes_another(cli, base_lake):
    before = state(cli.lake)
    again = cli.night("2020-02-01")
    assert again["note"] == "already published, nothing to do"
    assert state(cli.lake) == before
    changed = cli.night("2020-02-01", "--k", "50")
    assert "[score] k changed since: --force publishes another run" in changed["note"]
    other = cli.night("2020-02-01", source="sample:users=150,titles=120,seed=3")
    assert "the input" in other["note"]
    assert state(cli.lake) == before
    forced = cli.night("2020-02-01", "--k", "50", "--force")
    assert forced["run_id"] == "2020-02-01.2"
    assert forced["train"]["trained"] is False, "the same night's model is used again"
    assert {row["rank"] for row in cli.rows("select max(rank) as rank from recommendations")} == {50}
    assert before.items() - state(cli.lake).items() == {
        (name, before[name]) for name in ("catalog.duckdb", "latest.json")
    }


def test_an_older_date_adds_history_and_never_moves_what_readers_see(cli, base_lake):
    live = published_rows(cli.lake)
    cli.night("2020-01-30", "--train", "always")
    assert published_rows(cli.lake).equals(live)
    assert cli.rows("select run_id from runs order by run_date") == [
        {"run_id": "2020-01-30.1"},
        {"run_id": "2020-02-01.1"},
    ]


def test_two_lakes_of_the_same_night_hold_the_same_rows(cli, base_lake, tmp_path):
    """And a fork of the zygote does what the console script does, whose strings hash otherwise."""
    other = Cli(cli.directory, tmp_path / "other")
    other.night("2020-02-01", real=True)
    assert published_rows(other.lake).equals(published_rows(cli.lake))


def test_exact_search_and_scann_publish_the_same_rows_and_scores(cli, base_lake, tmp_path):
    one = published_rows(cli.lake)
    assert cli.night("2020-02-01", "--index", "brute", "--force")["engine"] == "brute"
    assert published_rows(cli.lake).equals(one)
    assert cli.night("2020-02-01", "--set", "score.users_per_batch=7", "--force")["engine"] == "exact"
    assert published_rows(cli.lake).equals(one)


def test_a_measured_decision_is_in_the_manifest_stored_with_the_model_and_taken_again(cli, base_lake):
    """The engine is chosen by times that no two nights share; the second night must not choose anew (law 3)."""
    measured = ("--set", "index.exact_seconds=0", "--force")
    first = cli.night("2020-02-01", *measured)
    curve = first["calibration"]["lists"]["trials"]
    assert curve[0]["engine"] == "exact"
    assert all(trial["users_per_second"] > 0 and 0 <= trial["recall"] <= 1 for trial in curve)
    files = list((cli.lake / "models" / "decisions").iterdir())
    assert [path.name for path in files] == [f"{first['model_id']}-{first['k']}.json"]
    second = cli.night("2020-02-01", *measured)
    assert second["calibration"]["lists"] == first["calibration"]["lists"] | {"replayed": True}
    cli("verify")
    files[0].write_text(files[0].read_text().replace(first["model_id"], "m-other"))
    assert "decisions" in cli("verify", code=74).stdout


def test_a_night_that_reloads_its_model_and_searches_exactly_imports_neither_tensorflow_nor_scann(cli, base_lake):
    """A process of its own, that looks at its modules when the night is over."""
    arguments = ["nightly", "--source", WORLD, "--run-date", "2020-02-02", "--train", "never", *FAST]
    program = (
        f"import sys\nfrom recbatch.jobs.cli import main\ntry:\n    main({arguments})\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "loaded = {'tensorflow', 'scann', 'tf_keras', 'tensorflow_recommenders', 'numba'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=cli.environment(), cwd=cli.directory, check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert b"2020-02-02.1 published" in done.stdout


KEEPS = """
import sys
from pathlib import Path
import numpy as np
from recbatch import kernels
from recbatch.contracts import Exclusions
from recbatch.index import ExactIndex
kernels.keep_in(Path(sys.argv[1]) / "_kernels")
one = np.ones((1, 16), np.float32)
ExactIndex(one, compiled=True).search(one, 1, Exclusions.none(1))
"""


def test_a_night_that_finds_machine_code_publishes_the_same_rows_and_damaged_code_is_not_run(cli, base_lake):
    plain = published_rows(cli.lake)
    subprocess.run([sys.executable, "-c", KEEPS, cli.lake], check=True, cwd=cli.directory)
    assert cli.night("2020-02-01", "--force")["run_id"] == "2020-02-01.2"
    assert published_rows(cli.lake).equals(plain)
    files = store.matching(cli.lake / "_kernels")
    assert {"search", "largest", "sum"} <= {path.name.partition(".")[0].partition("_")[0] for path in files}
    cli("verify")
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    told = cli("verify", code=74).stdout
    assert all(str(path) in told for path in files)
    assert cli.night("2020-02-01", "--force")["run_id"] == "2020-02-01.3"
    assert published_rows(cli.lake).equals(plain)
    cli("verify")


TRAINED = ("--train", "always", "--set", "judge.users_needed=20")


def put_a_useless_model_on_the_shelf(cli, tmp_path, run_date, *arguments, source=WORLD):
    """Leaves on the shelf, for this night, a sealed model that ranks the wrong way round: training gone wrong."""
    aside = Cli(cli.directory, tmp_path / "aside")
    model_id = aside.night(run_date, *(arguments or TRAINED), source=source)["model_id"]
    folder = aside.lake / "models" / model_id
    for which in ("judged", "served"):
        for path in sorted((folder / which).glob("candidates_*.npy")):
            np.save(path, np.load(path) * np.float32(-30))
    head = {
        key: value
        for key, value in store.read_checked_json(folder / "manifest.json").items()
        if key not in ("files", "checksum")
    }
    (folder / "manifest.json").unlink()
    store.seal(folder, head)
    (cli.lake / "models").mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder, cli.lake / "models" / model_id)
    return model_id


def test_a_model_that_fails_the_gate_changes_nothing_and_says_by_how_much(cli, tmp_path):
    """Law 4, where there is no parent's model to fall back on."""
    put_a_useless_model_on_the_shelf(cli, tmp_path, "2020-02-01")
    cli.night("2020-02-01", *TRAINED, "--allow-degraded", "holiday cover")
    assert cli.rows("select status, degraded_reason from runs") == [
        {"status": "degraded", "degraded_reason": "holiday cover"}
    ]
    assert {row["source"] for row in cli.rows("select distinct source from recommendations")} == {"popular"}
    before = state(cli.lake)
    shutil.rmtree(tmp_path / "aside")
    put_a_useless_model_on_the_shelf(cli, tmp_path, "2020-02-02")
    said = cli.night("2020-02-02", *TRAINED, code=65)
    line = said.strip().splitlines()[-1]
    assert line.startswith("recbatch: run 2020-02-02.1 blocked by gate_not_worse_than_popular: observed ndcg@10 ")
    assert "--allow-degraded" in line
    assert state(cli.lake) == before
    report = (cli.lake / "blocked" / "2020-02-02.1" / "report.html").read_text("utf-8")
    assert "gate_not_worse_than_popular" in report
    assert list((cli.lake / "_staging").iterdir()) == []
    listed = json.loads(cli("runs", "--json").stdout)
    assert [(run["run_id"], run["status"]) for run in listed] == [
        ("2020-02-01.1", "degraded"),
        ("2020-02-02.1", "blocked"),
    ]
    assert cli.rows("select run_id from runs") == [{"run_id": "2020-02-01.1"}]
    recovered = cli.night("2020-02-03")
    assert recovered["train"]["trained"] is True, "a model that failed is not loaded again"
    assert recovered["status"] == "published"


def test_where_tonights_model_fails_the_parents_meets_todays_histories(cli, base_lake, tmp_path):
    first = cli.rows("select model_id from runs")[0]["model_id"]
    useless = put_a_useless_model_on_the_shelf(cli, tmp_path, "2020-02-04")
    done = cli.night("2020-02-04", *TRAINED, "--set", "train.warm_start=false")
    assert done["status"] == "published"
    assert done["model_id"] == first
    assert f"Tonight's model {useless} failed the gate" in done["train"]["reason"]
    warned = cli.rows('select "check", severity from audits where not passed and "check" like \'challenger_%\'')
    assert {row["severity"] for row in warned} == {"warn"}
    assert {row["check"] for row in warned} & {
        f"challenger_gate_not_worse_than_{name}" for name in ("popular", "parent")
    }
    assert cli.rows("select count(*) as n from metrics where source = 'challenger'")[0]["n"] > 0
    again = cli.night("2020-02-05")
    assert (again["model_id"], again["train"]["trained"]) == (first, False)


def test_a_check_of_the_users_own_can_stop_a_night(cli, base_lake, tmp_path):
    before = state(cli.lake)
    checks = tmp_path / "checks"
    checks.mkdir()
    (checks / "no_first_place.sql").write_text(
        "-- severity: error\n-- expected: nobody has a first place\nselect * from recommendations where rank = 1\n"
    )
    said = cli.night("2020-02-02", "--set", f"audit.extra_checks={checks}", code=65)
    assert "blocked by no_first_place: observed " in said
    assert "expected nobody has a first place" in said
    assert state(cli.lake) == before
    (checks / "no_first_place.sql").write_text("select nothing from nowhere")
    assert (
        "no_first_place.sql"
        in cli.night("2020-02-02", "--set", f"audit.extra_checks={checks}", code=65).splitlines()[-1]
    )


def test_never_training_scores_todays_histories_with_the_last_model(cli, base_lake):
    second = cli.night("2020-02-04", "--train", "never")
    assert second["train"]["trained"] is False
    assert second["model_id"].startswith("m-2020-02-01-")
    fresh = """
        select count(*) as n from recommendations_history h join users u using (user_id)
        where h.run_date = '2020-02-04' and u.last_at >= '2020-02-01' and u.status <> 'cold' and h.source = 'model'"""
    assert cli.rows(fresh)[0]["n"] > 0
    said = cli.night("2020-01-20", "--train", "never", code=66)
    assert "no model trained before 2020-01-20" in said.splitlines()[-1], (
        "no model of the future is loaded for the past"
    )


@pytest.mark.parametrize(
    ("run_date", "arguments", "reason"),
    [
        ("2020-02-04", ["--set", "train.max_model_age_days=1"], "days old"),
        ("2020-02-04", ["--seed", "7"], "Settings or seed differ"),
        ("2020-09-01", ["--set", "train.max_vocabulary_drift=0.0"], "unknown to"),
    ],
)
def test_auto_trains_again_and_says_why(cli, base_lake, run_date, arguments, reason):
    again = cli.night(run_date, "--set", "train.max_model_age_days=900", *arguments)
    assert again["train"]["trained"] is True
    assert reason in again["train"]["reason"]


def test_a_reader_sees_one_whole_run_while_others_are_published(cli, base_lake):
    """Law 2, basic: every read during publications is of one run, whole, without an error."""
    cli.night("2020-02-01", "--k", "10", "--force")
    job = cli.start("nightly", "--source", WORLD, "--run-date", "2020-02-02", "--k", "20", "--index", "exact", *FAST)
    seen = []
    while job.poll() is None or len(seen) < 5:
        with duckdb.connect(str(cli.lake / "catalog.duckdb"), read_only=True) as con:
            seen.append(
                con.execute(
                    "select max(rank), min(n), max(n), (select count(*) from users), count(distinct user_id) from"
                    " (select *, count(*) over (partition by user_id) as n from recommendations)"
                ).fetchone()
            )
        latest = json.loads((cli.lake / "latest.json").read_text())
        rows = sum(
            pq.read_metadata(cli.lake / file["path"]).num_rows for file in latest["tables"]["recommendations"]["files"]
        )
        assert rows == latest["tables"]["recommendations"]["rows"]
    assert job.wait() == 0, job.communicate()
    job.communicate()
    assert {row[:3] for row in seen} == {(10, 10, 10), (20, 20, 20)}
    assert all(row[3] == row[4] for row in seen)


@pytest.mark.parametrize("stage", ["train", "score", "audit", "publish"])
def test_kill_9_leaves_the_last_run_and_the_next_start_repairs(cli, base_lake, stage):
    before = state(cli.lake)
    job = cli.start("nightly", "--source", WORLD, "--run-date", "2020-02-02", "--train", "always", *FAST)
    for line in job.stderr:
        if f'"stage": "{stage}"' in line and '"event": "stage"' in line:
            break
    time.sleep(0.05)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    visible = state(cli.lake)
    assert before.items() <= visible.items() or stage == "publish"
    assert cli.rows("select count(*) as n from recommendations")[0]["n"] > 0
    done = cli.night("2020-02-02", "--train", "always")
    assert done["run_id"].startswith("2020-02-02.")
    assert list((cli.lake / "_staging").iterdir()) == []
    assert cli("verify").returncode == 0
    if stage != "train":
        assert done["train"]["trained"] is False or done["note"], "finished training is not done twice"


def test_scoring_that_was_finished_when_a_kill_came_is_not_done_again(cli, base_lake, tmp_path):
    small = ("--set", "score.users_per_shard=60")
    job = cli.start("nightly", "--source", WORLD, "--run-date", "2020-02-02", "--train", "never", *FAST, *small)
    for line in job.stderr:
        if '"stage": "write"' in line:
            break
    job.send_signal(signal.SIGKILL)
    job.communicate()
    arguments = ["nightly", "--source", WORLD, "--run-date", "2020-02-02", "--train", "never", *FAST, *small]
    events = [json.loads(line) for line in cli(*arguments).stderr.splitlines()]
    assert [(event["shards"], event["of"]) for event in events if event["event"] == "resumed"] == [(4, 4)]
    assert not (cli.lake / "_resume").exists()
    other = Cli(cli.directory, tmp_path / "other")
    other.night("2020-02-01")
    other.night("2020-02-02", "--train", "never", *small)
    assert published_rows(other.lake).equals(published_rows(cli.lake))


def test_sigterm_stops_cleanly_with_143(cli):
    job = cli.start("nightly", "--source", WORLD, "--run-date", "2020-02-02", "--set", "train.epochs=5000", real=True)
    for line in job.stderr:
        if '"stage": "train"' in line:
            break
    time.sleep(3)
    job.send_signal(signal.SIGTERM)
    job.communicate(timeout=10)
    assert job.returncode == 143
    assert list((cli.lake / "_staging").iterdir()) == []


def test_a_second_start_is_told_to_wait(cli):
    first = cli.start("nightly", "--source", WORLD, "--run-date", "2020-02-01", *FAST)
    for line in first.stderr:
        if '"stage": "train"' in line:
            break
    said = cli.night("2020-02-01", code=75)
    assert f"another run holds the lock (process {first.pid})" in said
    first.communicate()
    assert first.returncode == 0


def test_a_run_on_a_catalogue_smaller_than_k_states_the_shortfall(cli):
    cli.night("2020-02-01", source="sample:users=120,titles=30,seed=1")
    rows = cli.rows("select distinct recommended < 100 as short, shortfall_reason from users")
    assert rows == [{"short": True, "shortfall_reason": "catalogue_exhausted"}]


def test_a_moved_lake_still_reads_and_is_continued(cli, base_lake, tmp_path):
    moved = tmp_path / "it's moved"
    cli.lake.rename(moved)
    there = Cli(cli.directory, moved)
    assert there.rows("select count(*) as n from runs") == [{"n": 1}]
    assert there("verify").returncode == 0
    there.night("2020-02-02")
    with duckdb.connect(str(moved / "catalog.duckdb"), read_only=True) as con:
        assert con.execute("select count(*) from runs").fetchone() == (2,)


def test_a_damaged_model_is_never_scored_with(cli, base_lake):
    (model,) = (cli.lake / "models").iterdir()
    weights = next(model.rglob("served/candidates_0.npy"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.chmod(0o640)
    weights.write_bytes(content)
    assert "sha256 differs" in cli("verify", code=74).stdout
    said = cli.night("2020-02-02", "--train", "never", code=66)
    assert "no sound model" in said.splitlines()[-1]
    assert cli.night("2020-02-02")["train"]["trained"] is True


def test_cron_is_quiet_on_success_and_says_one_line_on_failure(cli, tmp_path):
    script = Path(__file__).resolve().parents[2] / "cron" / "nightly.sh"
    home = tmp_path / "home"
    (home / ".venv").mkdir(parents=True)
    (home / ".venv" / "bin").symlink_to(Path(cli.command()[0]).parent)
    environment = {"PATH": "/usr/bin:/bin", "RECBATCH_HOME": str(home), "RECBATCH_LAKE": str(cli.lake)}
    run = [str(script), "--source", WORLD, "--run-date", "2020-02-01", *FAST]
    good = subprocess.run(run, check=False, env=environment, capture_output=True, text=True)
    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    bad = subprocess.run(
        [*run, "--set", "train.epoch=1", "--force"], check=False, env=environment, capture_output=True, text=True
    )
    assert bad.returncode == 78
    assert bad.stderr.count("\n") == 1
    assert "exit 78: recbatch: unknown setting train.epoch; did you mean train.epochs?" in bad.stderr
    assert (tmp_path / "lake.log").stat().st_size > 0
