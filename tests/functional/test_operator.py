"""The operator's commands: status, doctor, init, config, migrate, and what a night tells its watchers."""

import ast
import fcntl
import grp
import json
import os
import re
import subprocess
import tomllib

import duckdb
import pytest

from recbatch import config

from .conftest import FAST, WORLD


def lines_of(stderr):
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


def test_status_tells_age_audits_and_health(cli, base_lake):
    facts = json.loads(cli("status", "--json").stdout)
    assert facts["healthy"] is True
    assert facts["troubles"] == []
    assert (facts["run_id"], facts["run_date"], facts["status"]) == ("2020-02-01.1", "2020-02-01", "published")
    assert 0 <= facts["age_seconds"] < 3600
    assert facts["age_days"] > 2000
    assert isinstance(facts["failed_audits"], list)
    assert facts["blocked_since"] == []
    stale = cli("status", "--json", code=1, env={"RECBATCH_MAX_AGE_DAYS": "2"})
    assert "more than 2" in json.loads(stale.stdout)["troubles"][0]


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda lake: (lake / "catalog.duckdb").write_bytes(b"no catalog"), "catalog.duckdb"),
        (lambda lake: (lake / "latest.json").write_text("{}"), "latest.json"),
        (lambda lake: next((lake / "runs").glob("*/recommendations/*.parquet")).unlink(), "recommendations"),
        (lambda lake: os.truncate(next((lake / "runs").glob("*/users/*.parquet")), 10), "users"),
        (lambda lake: next((lake / "runs").glob("*/manifest.json")).write_text("{}"), "manifest.json"),
    ],
)
def test_status_answers_damage_with_exit_1_and_names_it(cli, base_lake, damage, word):
    damage(cli.lake)
    facts = json.loads(cli("status", "--json", code=1).stdout)
    assert facts["healthy"] is False
    assert word in facts["troubles"][0]
    assert "recbatch" in facts["troubles"][0]


def test_doctor_looks_at_everything_and_finds_nothing_here(cli, base_lake):
    found = json.loads(cli("doctor", "--json").stdout)
    assert found["healthy"] is True
    assert {one["check"] for one in found["findings"]} == {
        "python", "packages", "processor", "settings", "memory", "input", "lake folder", "temporary folder", "clock",
        "disk", "lake", "lock",
    }  # fmt: skip
    assert cli("doctor").stdout.count("\n") == len(found["findings"])


def test_doctor_names_each_fault_with_its_cure_and_exits_1(cli, base_lake, tmp_path):
    (cli.directory / "recbatch.toml").write_text("[train]\nepoch = 1\n")
    (cli.lake / "latest.json").write_text("{}")
    with (cli.lake / "_lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = cli("doctor", "--json", "--config", "recbatch.toml", code=1)
    found = {one["check"]: one for one in json.loads(done.stdout)["findings"]}
    assert found["settings"]["outcome"] == "fail"
    assert "did you mean train.epochs?" in found["settings"]["found"]
    assert found["lake"]["outcome"] == "warn", "the next night repairs it"
    assert found["lock"]["outcome"] == "warn"
    assert all(one["cure"] for one in found.values() if one["outcome"] != "ok")
    missing = json.loads(cli("doctor", "--json", "--set", "source.uri=files:/nowhere", code=1).stdout)["findings"]
    assert [one["outcome"] for one in missing if one["check"] == "input"] == ["fail"]
    future = json.loads(cli("doctor", "--json", "--lake", "/proc/lake", code=1).stdout)["findings"]
    assert [one["outcome"] for one in future if one["check"] == "lake folder"] == ["fail"]


def test_doctor_before_the_first_night_makes_nothing(cli):
    assert "nothing is published" in cli("doctor").stdout
    assert not cli.lake.exists()


def test_init_writes_files_that_are_what_they_say(cli, tmp_path):
    home = tmp_path / "it's a home"
    said = cli("init", home, "--lake", cli.lake, "--set", f"source.uri={WORLD}", "--set", "train.epochs=20").stdout
    assert "recbatch doctor" in said
    text = (home / "recbatch.toml").read_text()
    chosen = config.load(home / "recbatch.toml")
    assert (chosen.source.uri, chosen.train.epochs) == (WORLD, 20)
    for name, field in config.Config.model_fields.items():
        settings = getattr(field.annotation, "model_fields", None)
        for key, inner in (settings or {name: field}).items():
            assert re.search(
                rf"^(# )?{key} =.*  # {re.escape(' '.join(inner.description.split()))}$", text, re.MULTILINE
            ), key
    crontab = (home / "cron/recbatch.crontab").read_text()
    for key, place in {
        "RECBATCH_HOME": home,
        "RECBATCH_LAKE": cli.lake,
        "RECBATCH_CONFIG": home / "recbatch.toml",
    }.items():
        assert f"\n{key}={place}\n" in crontab
    ast.parse((home / "cron/airflow/recbatch_nightly.py").read_text())
    assert "name: recbatch" in (home / "dbt/models/sources.yml").read_text()
    assert f"{home / 'recbatch.toml'} is there already" in cli("init", home, code=73).stderr
    cli("init", home, "--force")
    environment = {
        key: str(value).strip()
        for key, _, value in (line.partition("=") for line in crontab.splitlines() if re.match("[A-Z_]+=", line))
    }
    command = crontab.splitlines()[-1].split(None, 5)[5]
    night = subprocess.run(
        ["/bin/sh", "-c", f"{command} --run-date 2020-02-01 --set train.epoch=1"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert night.returncode == 78, night.stderr
    assert night.stderr.count("\n") == 1


def test_config_show_and_check_need_no_lake(cli):
    shown = cli("config", "show").stdout
    assert tomllib.loads(shown)["score"]["k"] == 100
    assert cli("config", "check").stdout.startswith("sound")
    assert not cli.lake.exists()


def test_a_night_logs_its_run_id_on_every_line_and_writes_its_metrics(cli, tmp_path):
    metrics = tmp_path / "recbatch.prom"
    watch = ["--metrics-file", metrics]
    readers = ["--set", f'ops.reader_group="{grp.getgrgid(os.getgid()).gr_name}"']
    done = cli("nightly", "--source", WORLD, "--run-date", "2020-02-01", *FAST, *watch, *readers)
    assert {oct(path.stat().st_mode & 0o7777) for path in cli.lake.rglob("*")} == {"0o640", "0o2750"}
    logged = lines_of(done.stderr)
    assert len(logged) == len(done.stderr.splitlines())
    assert {line["run_id"] for line in logged} == {"2020-02-01.1"}
    assert logged[-1]["event"] == "done"
    assert "recbatch_night_exit_code 0.0" in metrics.read_text()
    assert 'recbatch_published_rows{table="recommendations"}' in metrics.read_text()
    assert "ops" not in json.loads((cli.lake / "runs/2020-02-01.1/manifest.json").read_text())["config"]
    again = cli("nightly", "--source", WORLD, "--run-date", "2020-02-01", *FAST, *watch)
    assert {line["run_id"] for line in lines_of(again.stderr)} == {"2020-02-01.1"}
    with (cli.lake / "_lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        cli("nightly", "--source", WORLD, *watch, code=75)
    assert "recbatch_night_exit_code 75.0" in metrics.read_text()
    assert "recbatch_night_last_success_timestamp_seconds" in metrics.read_text()
    cli("nightly", "--set", "train.epoch=1", *watch, code=78)
    assert "recbatch_night_exit_code 78.0" in metrics.read_text()
    changed = cli.night("2020-02-03", "--k", "50")
    assert changed["config_diff"] == {"score.k": {"was": 100, "now": 50}}
    assert "score.k 100 → 50" in cli("runs").stdout.splitlines()[0]
    report = (cli.lake / "runs/2020-02-03.1/report.html").read_text("utf-8")
    assert "Settings changed since run 2020-02-01.1" in report


def test_migrate_says_what_it_would_replace_and_then_does(cli, base_lake):
    assert "recs_for" in cli("migrate", "--dry-run").stdout, "the lake was moved, and the text names its root"
    cli("migrate")
    assert "nothing to change" in cli("migrate", "--dry-run").stdout
    (cli.lake / "latest.json").write_text("{}")
    with duckdb.connect(str(cli.lake / "catalog.duckdb")) as con:
        con.execute("drop view popular")
        con.execute("create view of_an_older_release as select 1")
    before = (cli.lake / "catalog.duckdb").read_bytes()
    would = json.loads(cli("migrate", "--dry-run", "--json").stdout)
    assert {"of_an_older_release", "popular"} <= set(would["views"])
    assert would["latest"] is True
    assert (cli.lake / "catalog.duckdb").read_bytes() == before
    assert "replaced " in cli("migrate").stdout
    assert "nothing to change" in cli("migrate", "--dry-run").stdout
    assert "sound" in cli("verify").stdout
