"""Nights that are compared with the nights before them, and blocked dates that are run again."""

import json
import shutil
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recbatch import sources, store
from recbatch.config import Source

from .conftest import FAST, WORLD
from .test_nights import state

AUDITS = 'select "check", observed, expected from audits where not passed and "check" not like \'gate%\''


def put(folder, change=lambda name, table: table, before=date(2020, 2, 5)):
    """The small world as files, each table as `change` makes it."""
    tables = sources.read(Source(uri=WORLD), before=before, today=date(2026, 1, 1))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in ("interactions", "items", "users"):
        pq.write_table(change(name, getattr(tables, name)), folder / f"{name}.parquet")
    return f"files:{folder}"


def test_a_night_whose_input_is_halved_is_blocked_and_says_by_how_much(cli, base_lake, tmp_path):
    before = state(cli.lake)
    half = put(
        tmp_path / "in", lambda name, table: table.slice(0, len(table) // 3) if name == "interactions" else table
    )
    said = cli.night("2020-02-02", source=half, code=65).splitlines()[-1]
    assert "blocked by input_not_halved: observed " in said
    assert "% of 2020-02-01.1, expected at least 50 % of its 5," in said
    assert state(cli.lake) == before
    report = (cli.lake / "blocked" / "2020-02-02.1" / "report.html").read_text("utf-8")
    assert "input_not_halved" in report


def changed(name, table):
    """Another schema, a lost day, and a catalogue and users of which half is new."""
    if name == "interactions":
        day = pc.strftime(table["occurred_at"], format="%Y-%m-%d")
        return table.filter(pc.not_equal(day, "2020-01-20")).drop_columns(["rating"])
    if name == "items":
        more = table.set_column(0, "item_id", pc.binary_join_element_wise("new", table["item_id"], "-"))
        table = pa.concat_tables([table, more], promote_options="permissive")
        return table.set_column(table.column_names.index("year"), "year", table["year"].cast(pa.string()))
    return pa.concat_tables(
        [table, table.set_column(0, "user_id", pc.binary_join_element_wise("n", table["user_id"], "-"))],
        promote_options="permissive",
    )


def test_drift_that_hurts_nobody_at_once_is_published_and_told(cli, base_lake, tmp_path):
    assert cli.rows("select distinct detail from audits where \"check\" = 'input_fresh'")[0]["detail"].startswith(
        "no earlier"
    )
    cli.night("2020-02-02", source=put(tmp_path / "in"))
    assert [row["observed"] for row in cli.rows(AUDITS)] == ["+ interactions.weight float"]
    cli.night("2020-02-03", source=put(tmp_path / "in"))
    assert cli.rows(AUDITS) == []
    cli.night("2020-02-04", source=put(tmp_path / "in", changed))
    told = {row["check"]: row["observed"] for row in cli.rows(AUDITS)}
    assert told["input_columns_unchanged"].startswith("- interactions.rating float; ~ items.year int32 -> string")
    assert told["input_days_without_gap"].startswith("1 days without an event: lost 2020-01-20")
    assert {"titles_new_share_usual", "users_new_share_usual"} <= set(told)
    assert "input_not_halved" not in told


def test_a_backfilled_date_is_not_compared_with_later_runs(cli, base_lake, tmp_path):
    """2020-02-01 stands with the whole world; a third of it, 2020-01-30, comes in behind it unopposed."""
    third = put(
        tmp_path / "in", lambda name, table: table.slice(0, len(table) // 3) if name == "interactions" else table
    )
    cli("backfill", "2020-01-30", "2020-01-30", "--source", third, *FAST)
    audits = store.read_checked_json(cli.lake / "runs" / "2020-01-30.1" / "manifest.json")["audits"]
    [volume] = [audit for audit in audits if audit["check"] == "input_not_halved"]
    assert (volume["passed"], volume["observed"]) == (True, "not run")
    assert volume["detail"].startswith("no earlier run")


@pytest.fixture
def blocked(cli, base_lake, tmp_path):
    """2020-02-02 was stopped by a check of the user's own; returns its night, to be run again."""
    checks = tmp_path / "checks"
    checks.mkdir()
    (checks / "mine.sql").write_text("select count(*) as users from users having count(*) > 10")

    def again(*arguments, **how):
        return cli.night("2020-02-02", "--set", f"audit.extra_checks={checks}", *arguments, **how)

    assert "blocked by mine: observed 1" in again(code=65)
    return again


def stages(said):
    return [json.loads(line)["stage"] for line in said.splitlines() if '"event": "stage"' in line]


def test_a_blocked_date_run_again_is_audited_again_without_scoring(cli, blocked, tmp_path):
    before = state(cli.lake)
    staged = store.read_checked_json(cli.lake / "blocked" / "2020-02-02.1" / "manifest.json")["files"]
    said = blocked(code=65)
    assert stages(said) == ["read", "audit", "report", "publish"]
    assert "run 2020-02-02.1 blocked by mine: observed 1" in said.splitlines()[-1]
    assert state(cli.lake) == before
    assert [path.name for path in (cli.lake / "blocked").iterdir()] == ["2020-02-02.1"]

    (tmp_path / "checks" / "mine.sql").write_text("select count(*) as users from users having count(*) < 10")
    done = blocked()
    assert (done["run_id"], done["status"]) == ("2020-02-02.1", "published")
    assert list((cli.lake / "blocked").iterdir()) == []
    manifest = store.read_checked_json(cli.lake / "runs" / "2020-02-02.1" / "manifest.json")
    same = [name for name in staged if not name.startswith(("audits", "report"))]
    assert {name: staged[name] for name in same} == {name: manifest["files"][name] for name in same}
    assert {"train", "score"} <= manifest["seconds"].keys()
    assert cli.rows("select count(*) as n from recs_for('a stranger')") == [{"n": 100}]
    assert "sound" in cli("verify").stdout
    assert cli.night("2020-02-03")["parent"] == "2020-02-02.1"


def test_a_blocked_date_can_be_allowed(cli, blocked):
    done = blocked("--allow-degraded", "known and harmless")
    assert (done["run_id"], done["status"], done["degraded_reason"]) == (
        "2020-02-02.1",
        "degraded",
        "known and harmless",
    )
    assert {row["source"] for row in cli.rows("select distinct source from recommendations")} > {"popular"}
    assert cli.rows("select \"check\" from audits where not passed and severity = 'error'") == [{"check": "mine"}]


@pytest.mark.parametrize("arguments", [("--k", "50"), ("--force",), ("--train", "always")])
def test_other_settings_or_force_make_another_run(cli, blocked, arguments):
    said = blocked(*arguments, code=65)
    assert "score" in stages(said)
    assert "run 2020-02-02.2 blocked" in said.splitlines()[-1]


def test_a_damaged_blocked_run_is_made_anew(cli, blocked):
    path = cli.lake / "blocked" / "2020-02-02.1" / "users" / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    assert "score" in stages(blocked(code=65))


def test_a_kill_between_publication_and_clearing_up_leaves_no_twin(cli, blocked, tmp_path):
    aside = tmp_path / "aside"
    shutil.copytree(cli.lake / "blocked" / "2020-02-02.1", aside)
    blocked("--allow-degraded", "yes")
    shutil.move(aside, cli.lake / "blocked" / "2020-02-02.1")
    cli.night("2020-02-03")
    assert list((cli.lake / "blocked").iterdir()) == []
    assert "sound" in cli("verify").stdout
