"""Many dates in one command: sorted, resumed, and no night knows its future."""

import json
import os
import select
import signal
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jobs import _ahead
from recbatch import config, schemas, train

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


COLD = [*FAST, "--set", "train.warm_start=false", "--set", "train.max_model_age_days=0"]
TIMED = ("started_at", "finished_at", "seconds", "part_seconds", "peak_bytes", "files", "checksum", "calibration")


def content(lake, run_id):
    """Every table of a run, and of its manifest what no clock and no memory says."""
    head = json.loads((lake / "runs" / run_id / "manifest.json").read_text())
    names = [table.name for table in schemas.RUN_TABLES]
    return {key: value for key, value in head.items() if key not in TIMED}, {n: rows(lake, run_id, n) for n in names}


@pytest.mark.long
def test_trainings_side_by_side_end_in_the_same_lake(cli, tmp_path):
    """Three dates that train from scratch; a fourth has a run already, of which the fifth is the child."""
    dates = [f"2020-02-0{day}" for day in (1, 2, 3, 4, 5)]
    logs = {}
    for jobs in (1, 2):
        cli = replace(cli, lake=tmp_path / f"lake-{jobs}")
        cli.night(dates[3], *COLD)
        command = ["backfill", dates[0], dates[-1], "--source", WORLD, "--json", *COLD]
        done = cli(*command, "--jobs", jobs, "--set", "score.memory_budget=8GiB")
        assert [line["outcome"] for line in json.loads(done.stdout)] == [*["published"] * 3, "done", "published"]
        logs[jobs] = [json.loads(line) for line in done.stderr.splitlines() if '"event": "trained"' in line]
    assert [[line["ahead"] for line in log] for log in logs.values()] == [[False] * 4, [True] * 4]
    for day in dates:
        one, other = (content(tmp_path / f"lake-{jobs}", f"{day}.1") for jobs in (1, 2))
        for head in (one[0], other[0]):
            assert head["config"]["score"].pop("memory_budget") == "8GiB" or day == dates[3]
        assert one == other, day


@pytest.mark.long
def test_trainings_ahead_end_with_a_killed_backfill(cli):
    command = ["backfill", "2020-02-01", "2020-02-03", "--source", WORLD, "--set", "train.mode=always", *COLD]
    job = cli.start(*command, "--jobs", "2", "--set", "score.memory_budget=8GiB")
    assert any('"event": "decision"' in line for line in job.stderr)
    children = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    assert len(children) >= 2
    handles = [os.pidfd_open(int(child)) for child in children]
    job.kill()
    job.communicate()
    for handle in handles:
        assert select.select([handle], [], [], 60)[0], "it has ended"
        os.close(handle)


@pytest.mark.parametrize(
    ("settings", "days"),
    [
        ({"train.mode": "never"}, []),
        ({"train.budget": "20m"}, []),
        ({"train.max_model_age_days": 2}, [1]),
        ({"train.max_model_age_days": 2, "train.warm_start": False}, [1, 4, 7, 10]),
        ({"train.max_model_age_days": 2, "train.max_warm_starts": 1}, [1, 7]),
        ({"train.mode": "always", "train.max_warm_starts": 2}, [1, 4, 7, 10]),
    ],
)
def test_the_dates_that_start_from_scratch(settings, days):
    chosen = config.load(overrides=settings)
    found = _ahead.from_scratch([], [date(2020, 2, day) for day in range(1, 12)], chosen)
    assert [day.day for day in found] == days


def test_a_model_on_the_shelf_is_no_new_start_unless_it_is_of_other_settings():
    chosen = config.load(overrides={"train.max_model_age_days": 2, "train.max_warm_starts": 1})
    days = [date(2020, 2, day) for day in range(1, 12)]
    head = {"trained_before": "2020-01-31", "train_digest": train.train_digest(chosen.train), "seed": chosen.seed}
    assert [day.day for day in _ahead.from_scratch([head], days, chosen)] == [6]
    assert [day.day for day in _ahead.from_scratch([head | {"seed": 1}], days, chosen)] == [1, 7]
    future = head | {"trained_before": "2020-02-20"}
    assert [day.day for day in _ahead.from_scratch([future], days, chosen)] == [1, 7]


def test_more_trainings_than_the_memory_budget_holds_are_refused(cli):
    command = ["backfill", "2020-02-01", "2020-02-02", "--source", WORLD, *FAST]
    said = cli(*command, "--jobs", "4", code=78).stderr.splitlines()[-1]
    assert "--jobs 4 needs about" in said
    assert "5 processes of" in said
    assert not (cli.lake / "runs").exists() or not list((cli.lake / "runs").iterdir())
