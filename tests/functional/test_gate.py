"""Floors of segments: what they stop, and what a report shows of champion, challenger and baselines."""

from __future__ import annotations

import json

FLOORS = ["--set", "judge.users_needed=10", "--set"]


def test_a_segment_below_its_floor_stops_the_night_and_readers_keep_what_they_had(cli, base_lake):
    told = cli.night("2020-02-06", *FLOORS, 'judge.segment_floors={"status=warm" = 50}', code=65)
    assert "gate_floor_status=warm: observed ndcg@10" in told
    assert "50 times popularity's" in told
    assert cli.rows("select run_id from runs") == [{"run_id": "2020-02-01.1"}]
    done = cli.night("2020-02-06", *FLOORS, 'judge.segment_floors={"status=warm" = 0.5, activity = 0.1}', "--force")
    assert done["status"] == "published"
    floors = cli.rows('select "check", passed from audits where "check" like \'gate_floor%\' order by 1')
    assert {"check": "gate_floor_status=warm", "passed": True} in floors
    assert len(floors) > 2
    segments = {row["segment"] for row in cli.rows("select distinct segment from metrics")}
    assert {"all", "status=warm", "source=model", "source=popular", "activity=0"} <= segments
    manifest = json.loads((cli.lake / "runs" / done["run_id"] / "manifest.json").read_text())
    figures = {row["source"]: row["value"] for row in manifest["metrics"] if (row["metric"], row["k"]) == ("ndcg", 10)}
    (gap,) = [
        row
        for row in manifest["differences"]
        if (row["metric"], row["k"], row["segment"], row["baseline"]) == ("ndcg", 10, "all", "popular")
    ]
    assert abs(gap["value"] - (figures["model"] - figures["popular"])) < 1e-9
    assert gap["ci_low"] <= gap["value"] <= gap["ci_high"]
    report = (cli.lake / "runs" / done["run_id"] / "report.html").read_text()
    assert "Model \N{MINUS SIGN} popularity" in report
