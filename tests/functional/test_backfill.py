"""Many dates in one command: sorted, resumed, and no night knows its future."""

import json
import signal

import pyarrow.parquet as pq

from .conftest import FAST, WORLD


def rows(lake, run_id, table="recommendations"):
    return pq.read_table(lake / "runs" / run_id / table)


def test_a_backfilled_night_equals_the_same_night_alone(cli, _base):
    cli.night("2020-02-03")  # a model of the future is on the shelf
    done = json.loads(cli("backfill", "2020-02-02", "2020-02-01", "--source", WORLD, "--json", *FAST).stdout)
    assert [(line["run_id"], line["outcome"]) for line in done] == [
        ("2020-02-01.1", "published"),
        ("2020-02-02.1", "published"),
    ]
    for table in ("recommendations", "users", "metrics", "holdout", "popular"):
        assert rows(cli.lake, "2020-02-01.1", table).equals(rows(_base, "2020-02-01.1", table)), table
    for row in cli.rows("select run_id, run_date, trained_before, parent from runs order by run_date"):
        assert row["trained_before"] <= row["run_date"], row
    assert cli.rows("select parent from runs where run_id = '2020-02-02.1'") == [{"parent": "2020-02-01.1"}]
    assert json.loads((cli.lake / "latest.json").read_text())["run_id"] == "2020-02-03.1", "readers see what they saw"


def test_a_killed_backfill_goes_on_where_it_was(cli, base_lake):
    command = ["backfill", "2020-02-01", "2020-02-03", "--source", WORLD, *FAST]
    job = cli.start(*command)
    published = 0
    for line in job.stderr:
        published += '"stage": "publish"' in line
        if published and '"stage": "score"' in line:
            break
    job.send_signal(signal.SIGKILL)
    job.communicate()
    lines = cli(*command).stdout.splitlines()
    assert lines[0] == "2020-02-01.1 already published, nothing to do"
    assert lines[1] == "2020-02-02.1 already published, nothing to do"
    assert lines[2].startswith("2020-02-03.1 published: ")
    assert list((cli.lake / "_staging").iterdir()) == []
    assert cli("verify").returncode == 0


def test_a_blocked_date_is_told_and_the_others_are_done(cli, base_lake, tmp_path):
    checks = tmp_path / "checks"
    checks.mkdir()
    (checks / "no_second.sql").write_text("select * from run_settings where run_date = '2020-02-02'")
    done = cli(
        "backfill",
        "2020-02-02",
        "2020-02-03",
        "--source",
        WORLD,
        *FAST,
        "--set",
        f"audit.extra_checks={checks}",
        code=65,
    )
    assert "2020-02-02 not done: run 2020-02-02.1 blocked by no_second" in done.stdout
    assert "2020-02-03.1 published" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("recbatch: 1 of 2 dates not done: 2020-02-02;")
    assert [row["run_id"] for row in cli.rows("select run_id from runs order by run_date")] == [
        "2020-02-01.1",
        "2020-02-03.1",
    ]
