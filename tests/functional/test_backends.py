"""What backends get: Reader, withdraw, similar, export-lookup, and evaluate, through the command."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sqlite3
import subprocess
import time
from datetime import UTC, datetime

import duckdb
import pytest

from jobs import _metrics
from recbatch.lookup import Reader
from recbatch.store import Lake
from tests.functional.conftest import Cli


@pytest.fixture
def lake_of_two(published, tmp_path):
    """A copy of the two published nights, for a test to change."""
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(published.lake, tmp_path / "lake")
    return Cli(tmp_path / "elsewhere", tmp_path / "lake")


def everything(cli):
    """View → its rows that name an item."""
    with duckdb.connect() as con:
        con.execute(f"set variable recbatch_root = '{cli.lake}'")
        con.execute(f"attach '{cli.lake}/catalog.duckdb' as c (read_only); use c")
        views = con.execute("select view_name from duckdb_views() where not internal order by 1").fetchall()
        found = {view: con.sql(f"from {view} order by all").to_arrow_table().to_pylist() for (view,) in views}
        found["recs_for"] = con.sql("from recs_for('nobody')").to_arrow_table().to_pylist()
        return found


def test_reader_and_recs_for_agree_on_everybody(published):
    reader = Reader(published.lake)
    with duckdb.connect(str(published.lake / "catalog.duckdb"), read_only=True) as con:
        rows = con.execute("from recommendations order by user_id, rank").fetchall()
        users = [user for (user,) in con.execute("select user_id from users").fetchall()]
        nobody = con.execute("select * exclude user_id from recs_for('nobody') order by rank").fetchall()
    assert [(user, *row) for user in sorted(users) for row in reader.get(user)] == rows
    assert [tuple(row) for row in reader.get("nobody")] == nobody
    assert reader.run_id == "2020-02-06.1"


def test_every_view_answers_with_the_same_bits_each_time(published):
    first = everything(published)
    assert [everything(published) == first for _ in range(5)] == [True] * 5


def test_withdraw_reaches_every_view_and_reader_within_a_second_and_undo_brings_all_back(lake_of_two):
    cli = lake_of_two
    reader, before = Reader(cli.lake), everything(cli)
    first = min(before["popular"], key=lambda row: row["rank"])
    item, title = first["item_id"], first["title"]
    cli("withdraw", title)
    done = time.monotonic()
    assert title in json.dumps(before, default=str, ensure_ascii=False)
    gone = everything(cli)
    gone["runs"] = []  # says nothing of titles, but may hold the id among its figures
    assert title not in json.dumps(gone, default=str, ensure_ascii=False)
    for view, rows in gone.items():
        for row in rows:
            assert item not in (row.get("item_id"), row.get("similar_item_id"), row.get("because_item_id")), view
    while reader.get("nobody")[0].item_id == item:
        assert time.monotonic() - done < 1
    users = {row["user_id"]: row for row in gone["users"]}
    per_user = {}
    for row in gone["recommendations"]:
        per_user.setdefault(row["user_id"], []).append(row)
    for user, facts in users.items():
        own = sorted(per_user.get(user, []), key=lambda row: row["rank"])
        assert [row["rank"] for row in own] == list(range(1, facts["recommended"] + 1))
        assert facts["recommended"] == 100 or facts["shortfall_reason"]
        assert [tuple(row.values())[1:] for row in own] == [tuple(row) for row in reader.get(user)]
    assert json.loads(cli("withdraw", "--json").stdout)["withdrawn"] == [{"item_id": item, "title": title}]
    assert "withdrawn already" in cli("withdraw", item).stdout
    cli("withdraw", item, "--undo")
    assert everything(cli) == before
    assert "is not withdrawn" in cli("withdraw", item, "--undo", code=66).stderr


def test_the_next_night_obeys_and_fills_every_list(lake_of_two):
    cli = lake_of_two
    item = cli.rows("select item_id from popular where rank = 1")[0]["item_id"]
    cli("withdraw", item)
    done = cli.night("2020-02-07")
    table = f"{cli.lake}/runs/{done['run_id']}/%s/*.parquet"
    with duckdb.connect() as con:
        for name in ("recommendations", "recommendations_buffer", "popular", "items", "similar_items"):
            assert con.execute(f"select count(*) from '{table % name}' where item_id = ?", [item]).fetchall() == [(0,)]
    short = "select count(*) as n from users where recommended < 100 and shortfall_reason is null"
    assert cli.rows(short) == [{"n": 0}]
    assert [row.item_id for row in Reader(cli.lake).get("nobody")].count(item) == 0


def test_a_kill_between_list_and_catalog_is_repaired_by_the_next_command(lake_of_two):
    cli = lake_of_two
    item = cli.rows("select item_id from popular where rank = 1")[0]["item_id"]
    cli("withdraw", item)
    whole = (cli.lake / "withdrawn.json").read_bytes()
    cli("withdraw", item, "--undo")
    (cli.lake / "withdrawn.json").write_bytes(whole)
    cli.night("2020-02-06")
    assert cli.rows(f"select count(*) as n from recommendations where item_id = '{item}'") == [{"n": 0}]
    assert json.loads((cli.lake / "latest.json").read_text())["withdrawn"] == [item]


@pytest.mark.long
def test_the_lookup_benchmark_is_one_flat_object_of_plausible_figures(cli):
    figures = json.loads(cli("benchmark", "lookup", "--users", "1500", "--json").stdout)
    assert all(not isinstance(value, dict | list) for value in figures.values())
    assert 0 < figures["view_p50_ms"] <= figures["view_p99_ms"]
    assert 0 < figures["reader_p50_ms"] <= figures["reader_p99_ms"] < figures["thousand_ids_ms"]
    assert figures["reader_lookups_per_second"] > 500
    assert {"cold_above_import_ms", "sqlite_p50_ms", "duckdb_indexed_p50_ms", "parquet_unsorted_p50_ms"} < set(figures)
    assert figures["lookup_bytes"] > 8 * 1500 * 100


def test_similar_by_id_and_title_and_an_unknown_one_with_the_nearest(published):
    (first,) = published.rows("select item_id, title from items order by item_id limit 1")
    by_id = json.loads(published("similar", first["item_id"], "--json").stdout)
    assert by_id == json.loads(published("similar", first["title"], "--json").stdout)
    assert by_id["similar"] == published.rows(
        f"select rank, similar_item_id as item_id, similar_title as title, score from similar_to('{first['item_id']}')"
    )
    assert first["title"] in published("similar", first["item_id"]).stdout
    [audit] = published.rows("select * from audits where \"check\" = 'similar_items_certificate'")
    assert (audit["severity"], audit["passed"]) == ("error", True)
    manifest = json.loads((published.lake / "runs" / "2020-02-06.1" / "manifest.json").read_text())
    assert manifest["similar_certificate"]["k"] == 20
    assert manifest["similar_certificate"]["recall"] >= manifest["similar_certificate"]["target"]
    assert f"did you mean {first['title']!r}" in published("similar", first["title"] + "x", code=66).stderr


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_an_export_holds_the_live_lists_and_replaces_the_one_before(published, tmp_path, kind):
    file = tmp_path / "out.db"
    file.write_bytes(b"the one before")
    # A file may have 64 KiB: the disk is full, so to speak, in the midst of the rows.
    full = "ulimit -f 64; exec " + shlex.join(published.command("export-lookup", "--to", kind, file))
    done = subprocess.run(
        ["bash", "-c", full], env=published.environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, file.read_bytes()) == (74, b"the one before"), done.stderr
    published("export-lookup", "--to", kind, file)
    assert [path.name for path in tmp_path.iterdir()] == ["out.db"]
    con = sqlite3.connect(file) if kind == "sqlite" else duckdb.connect(str(file), read_only=True)
    found = con.execute("select * from recommendations order by user_id, rank").fetchall()
    run = con.execute("select run_id, k from run").fetchall()
    con.close()
    assert run == [("2020-02-06.1", 100)]
    expected = published.rows("from recommendations order by user_id, rank")
    assert found == [tuple(row.values()) for row in expected]
    assert "create it first" in published("export-lookup", "--to", kind, tmp_path / "no" / "x", code=73).stderr


def test_evaluate_judges_what_was_published_by_what_came(lake_of_two):
    cli = lake_of_two
    first = json.loads(cli("evaluate", "--run-date", "2020-02-01", "--until", "2020-02-04", "--json").stdout)
    assert (first["run_id"], first["horizons"]) == ("2020-02-01.1", [1, 3])
    more = json.loads(cli("evaluate", "--run-date", "2020-02-01", "--until", "2020-02-08", "--json").stdout)
    assert more["horizons"] == [1, 3, 7]
    assert more["users"] >= first["users"]
    cli("evaluate", "--run-date", "2020-02-06", "--until", "2020-02-08")
    assert [path.name for path in sorted((cli.lake / "outcomes").iterdir())] == ["2020-02-01.1", "2020-02-06.1"]
    assert cli.rows("select distinct run_id from realised_metrics order by 1") == [
        {"run_id": "2020-02-01.1"},
        {"run_id": "2020-02-06.1"},
    ]
    # The twin: hit rate at 100 over 7 days from the events themselves, by SQL.
    folder = cli.lake / "outcomes" / "2020-02-01.1" / "2" / "realised"
    with duckdb.connect() as con:
        hits, users = con.execute(
            f"select count(*) filter (hit), count(*) from (select bool_or(coalesce(rank <= 100, false)) as hit from '{folder}/*.parquet' group by user_id)"
        ).fetchone()
        unseen = con.execute(
            f"select count(*) from '{folder}/*.parquet' r where rank is not null and status <> 'unknown' and not exists"
            f" (from '{cli.lake}/runs/2020-02-01.1/recommendations/*.parquet' l where l.user_id = r.user_id and l.item_id = r.item_id and l.rank = r.rank)"
        ).fetchone()
    assert unseen == (0,)
    [row] = cli.rows(
        "select value, users from realised_metrics where run_id = '2020-02-01.1' and horizon_days = 7 and metric = 'hit_rate' and k = 100 and segment = 'all' and source = 'all'"
    )
    assert (row["value"], row["users"]) == (hits / users, users)
    _segments_add_up(cli, folder)
    textfile = cli.directory / "recbatch.prom"
    moment = datetime(2020, 2, 8, tzinfo=UTC)
    _metrics.write(textfile, Lake(cli.lake), _metrics.Attempt(None, moment, moment, 0, {}))
    told = dict(
        re.findall(r'^recbatch_realised_ndcg\{horizon_days="(\d+)"\} (\S+)$', textfile.read_text(), re.MULTILINE)
    )
    newest = "run_id = '2020-02-06.1' and metric = 'ndcg' and k = 10 and segment = 'all' and source = 'all'"
    rows = cli.rows(f"select horizon_days, value from realised_metrics where {newest}")
    assert {int(days): float(value) for days, value in told.items()} == {r["horizon_days"]: r["value"] for r in rows}
    assert told
    before = (cli.lake / "catalog.duckdb").read_bytes()
    cli("evaluate", "--run-date", "2020-02-01", "--until", "2020-02-08")
    assert (cli.lake / "catalog.duckdb").read_bytes() == before, "nothing new, nothing written"
    assert "is not over" in cli("evaluate", "--run-date", "2020-02-06", "--until", "2020-02-06", code=2).stderr
    assert "no live run" in cli("evaluate", "--run-date", "2020-03-06", code=66).stderr
    assert cli("verify").returncode == 0
    (file,) = (cli.lake / "outcomes" / "2020-02-06.1").glob("*/realised_metrics/*.parquet")
    content = file.read_bytes()
    file.write_bytes(content + b"x")
    assert "sha256 differs" in cli("verify", code=74).stdout
    file.write_bytes(content)
    cli.night("2020-02-07")
    assert len(cli.rows("select distinct run_id from realised_metrics")) == 2, "the next night keeps the outcomes"


def _segments_add_up(cli, folder):
    """Each kind of segment holds every user that it names once; hit rates by segment are those of the events."""
    rows = cli.rows(
        "select segment, value, users, users_without_list from realised_metrics where run_id = '2020-02-01.1'"
        " and horizon_days = 7 and metric = 'hit_rate' and k = 100 and source = 'all'"
    )
    found = {row["segment"]: row for row in rows}
    users = {kind: sum(row["users"] for name, row in found.items() if name.split("=")[0] == kind) for kind in
             ("all", "status", "activity", "tenure", "gender", "source")}  # fmt: skip
    known = users["all"] - found.get("status=unknown", {"users": 0})["users"]
    assert users["status"] == users["all"] == users["source"] + found["all"]["users_without_list"]
    assert users["activity"] == users["tenure"] == known
    assert 0 < users["gender"] <= known
    with duckdb.connect() as con:
        twin = con.execute(
            "select activity, avg(hit::integer), count(*) from (select user_id, any_value(case when interactions = 0 then '0'"
            " when interactions < 5 then '1-4' when interactions < 20 then '5-19' when interactions < 100 then '20-99' else '100+' end) as activity,"
            f" bool_or(coalesce(rank <= 100, false)) as hit from '{folder}/*.parquet' join"
            f" '{cli.lake}/runs/2020-02-01.1/users/*.parquet' using (user_id) group by user_id) group by activity"
        ).fetchall()
    for activity, value, amount in twin:
        row = found[f"activity={activity}"]
        assert (row["value"], row["users"]) == (pytest.approx(value), amount)


def test_forget_moves_the_outcome_to_the_run_that_is_left_and_measures_it_without_the_user(lake_of_two):
    cli = lake_of_two
    cli("evaluate", "--run-date", "2020-02-01", "--until", "2020-02-08")
    user = cli.rows(
        f"select user_id from '{cli.lake}/outcomes/2020-02-01.1/1/realised/*.parquet' where rank <= 10 and status = 'hot' limit 1"
    )[0]["user_id"]
    key = "metric = 'hit_rate' and k = 10 and segment = 'all' and source = 'all' and horizon_days = 7"
    [before] = cli.rows(f"select value, users from realised_metrics where {key}")
    cli("forget", user)
    assert [path.name for path in (cli.lake / "outcomes").iterdir()] == ["2020-02-01.2"]
    [after] = cli.rows(f"select run_id, value, users from realised_metrics where {key}")
    hits = before["value"] * before["users"] - 1
    assert after == {
        "run_id": "2020-02-01.2",
        "value": pytest.approx(hits / (before["users"] - 1)),
        "users": before["users"] - 1,
    }
    assert cli.rows(f"select count(*) as n from histories where user_id = '{user}'") == [{"n": 0}]
    assert cli.rows("select count(*) > 0 as some from histories") == [{"some": True}]
    assert cli("verify").returncode == 0
