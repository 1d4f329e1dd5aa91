"""Nights with features, warm starts, budgets and interrupted training."""

import json
import os
import signal
import time

from .conftest import FAST, WORLD
from .test_export import ask, assert_alike, published_lists

PEOPLE = ("--set", "train.user_features={gender='category', age_band='category', occupation='category'}")


def test_newcomers_are_served_by_their_features_and_training_goes_on_from_the_parents(cli):
    cold = cli.night("2020-02-01", *PEOPLE)
    sources = """select u.status, r.source, count(*) as n from recommendations r join users u using (user_id)
                 where rank = 1 group by all"""
    first = {(row["status"], row["source"]): row["n"] for row in cli.rows(sources)}
    assert first["cold", "model"] >= 3
    assert ("cold", "popular") not in first
    reasons = "select count(because_item_id) as n from recommendations join users using (user_id) where status = 'cold'"
    assert cli.rows(reasons) == [{"n": 0}]

    warm = cli.night("2020-02-09", *PEOPLE)
    assert warm["train"]["trained"]
    assert warm["model_id"] != cold["model_id"]
    manifest = json.loads((cli.lake / "models" / warm["model_id"] / "manifest.json").read_text())
    assert (manifest["parent"], manifest["warm_starts"]) == (cold["model_id"], 1)
    assert manifest["epochs"] == round(cold["train"]["epochs"] * 0.3)
    again = cli.night("2020-02-09", *PEOPLE, "--force")
    assert again["model_id"] == warm["model_id"]

    cli("export", "--to", cli.directory / "serving", "--index", "brute")
    lists = published_lists(cli)
    (answers,) = ask([(cli.directory / "serving", "brute-user", list(lists))])
    for ours, theirs in zip(answers, lists.values(), strict=True):
        assert_alike(ours, theirs, 100)


def test_a_killed_training_is_resumed_and_ends_as_if_nothing_had_happened(cli, base_lake, tmp_path):
    """The checkpoint of the judged weights stands when the kill comes."""
    arguments = ("--train", "always", "--set", "train.warm_start=false")
    started = cli.start("nightly", "--source", WORLD, "--run-date", "2020-02-06", *FAST, *arguments)
    folder = cli.lake / "_resume"
    deadline = time.monotonic() + 120
    while not list(folder.glob("*/judged/*.npz")) and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    started.communicate()
    assert list(folder.glob("*/judged/*.npz"))
    resumed = cli.night("2020-02-06", *arguments)
    assert not folder.exists()
    aside = type(cli)(cli.directory, tmp_path / "aside")
    undisturbed = aside.night("2020-02-06", *arguments)
    assert resumed["model_id"] == undisturbed["model_id"]
    rows = "select * from recommendations order by user_id, rank"
    assert cli.rows(rows) == aside.rows(rows)


def test_a_train_budget_is_kept_and_said(cli):
    long = ("--set", "train.epochs=100000", "--set", "train.max_steps=10000000")
    began = time.monotonic()
    done = cli.night("2020-02-01", *long, "--train-budget", "6s")
    assert time.monotonic() - began < 120
    assert done["train"]["budget_reached"]
    assert done["train"]["epochs"] < 100_000
    assert "e.g. `20m`" in cli("config", "show").stdout
    assert "train.budget" in cli.night("2020-02-01", "--train-budget", "soon", code=78)
