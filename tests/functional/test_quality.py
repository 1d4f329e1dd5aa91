"""`recbatch benchmark quality`: figures that a slower way agrees with, flat JSON, a table and a plot."""

import importlib.util
import json
from datetime import date

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs._quality import PROTOCOLS, read_all
from recbatch import config, evaluate

from .conftest import WORLD

FAST = ["--set", "train.max_steps=60", "--seeds", "2", "--until", "2020-04-01", "--source", WORLD]


@pytest.fixture(scope="module")
def data():
    return read_all(config.load(overrides={"source.uri": WORLD}), date(2020, 4, 1))


def by_popularity(data, protocol, k):
    """Recall of the k most popular unseen titles per user, one user at a time."""
    parts = PROTOCOLS[protocol].cut(data.events, 42)
    seen = [set(parts.train.of_users([user]).items.tolist()) for user in range(data.num_users)]
    counts = np.bincount([item for titles in seen for item in titles], minlength=data.num_items)
    order = np.argsort(-counts, kind="stable").tolist()
    found = {}
    for user in range(data.num_users):
        wanted = set(parts.test.of_users([user]).items.tolist()) - seen[user]
        if wanted:
            best = [item for item in order if item not in seen[user]][:k]
            found[user] = (len(wanted & set(best)), len(wanted))
    return found


def test_protocol_u_agrees_with_popularity_counted_by_hand(cli, data):
    done = cli("benchmark", "quality", "--protocol", "U", "--json", "--out", "out", "--peers", "popularity,ease", *FAST)
    figures = json.loads(done.stdout)
    assert all(not isinstance(value, dict | list) for value in figures.values()), "one flat object"
    by_hand = by_popularity(data, "U", 20)
    expected = np.mean([hits / min(20, wanted) for hits, wanted in by_hand.values()])
    assert figures["popularity_recall_at_20"] == pytest.approx(expected, abs=1e-12)
    assert figures["judged_users"] == figures["recall_at_20_counted"] == len(by_hand)
    assert figures["users_without_held_out"] == data.num_users - len(by_hand)
    assert figures["splits"] == 2
    assert figures["popularity_recall_at_20_spread"] == 0, "the split of U is always the same"
    assert figures["objective"] == "next"
    assert figures["recbatch_ndcg_at_10"] > figures["popularity_ndcg_at_10"]
    assert (
        figures["recbatch_ndcg_at_10_ci_low"] < figures["recbatch_ndcg_at_10"] < figures["recbatch_ndcg_at_10_ci_high"]
    )
    assert figures["recbatch_over_ease_ndcg_at_10"] == pytest.approx(
        figures["recbatch_ndcg_at_10"] / figures["ease_ndcg_at_10"]
    )
    assert figures["best_peer_ndcg_at_10"] == "ease"
    assert figures["recbatch_over_best_peer_ndcg_at_10"] == figures["recbatch_over_ease_ndcg_at_10"]
    assert figures["ease_settings"].startswith("regularization=")
    assert figures["ease_seconds"] > 0
    assert figures["machine_cores"] >= 1
    rows = pq.read_table(cli.directory / "out" / "quality.parquet").to_pylist()
    assert {(row["metric"], row["contender"]): row["value"] for row in rows}["acc_at_10", "ease"] == figures[
        "ease_acc_at_10"
    ]
    assert (cli.directory / "out" / "quality.png").read_bytes().startswith(b"\x89PNG")


def test_protocol_r_counts_pairs_and_keeps_users_without_history(cli, data):
    done = cli("benchmark", "quality", "--protocol", "R", "--json", "--peers", "popularity", *FAST, "--seeds", "1")
    figures = json.loads(done.stdout)
    by_hand = by_popularity(data, "R", 10).values()
    assert figures["popularity_acc_at_10"] == pytest.approx(
        sum(hits for hits, _ in by_hand) / sum(n for _, n in by_hand)
    )
    assert figures["acc_at_10_counted"] == figures["judged_pairs"] == sum(n for _, n in by_hand)
    pairs = evaluate.held_out(PROTOCOLS["R"].cut(data.events, 42), keep_seen=False)
    assert figures["cold_users"] == (~pairs.warm).sum()
    assert figures["objective"] == "fill_in"
    assert 0 < figures["recbatch_acc_at_1"] <= figures["recbatch_acc_at_5"] <= figures["recbatch_acc_at_100"] <= 1


def test_text_has_every_peer_that_can_run_and_the_cure_for_the_one_that_cannot(cli):
    done = cli("benchmark", "quality", "--protocol", "U", "--peers", "popularity,ials", *FAST, "--seeds", "1")
    there = importlib.util.find_spec("implicit") is not None
    for peer in ("recbatch", "popularity", "ials"):
        assert (f" {peer} " in done.stdout) == (peer != "ials" or there), peer
    assert ("pip install 'recbatch[bench]'" in done.stdout) != there


def test_protocol_n_is_the_backtest(cli):
    common = ["--nights", "2", "--peers", "recent", "--json", *FAST[:2], *FAST[4:]]
    ours = json.loads(cli("benchmark", "quality", "--protocol", "N", "--seeds", "1", *common).stdout)
    theirs = json.loads(cli("backtest", *common).stdout)
    assert {key: value for key, value in ours.items() if "seconds" not in key} == {
        key: value for key, value in theirs.items() if "seconds" not in key
    }


def test_a_peer_of_another_name_is_a_usage_error(cli):
    said = cli("benchmark", "quality", "--peers", "ease,bpr", code=2).stderr
    assert "bpr" in said
    assert "itemknn" in said


def test_help_has_examples(cli):
    assert "  recbatch benchmark quality --protocol R" in cli("benchmark", "quality", "--help").stdout


def test_more_steps_buy_more_and_a_step_is_taken_apart(cli):
    done = cli("benchmark", "training", "--json", "--source", WORLD, "--until", "2020-04-01", "--steps", "10,80")
    figures = json.loads(done.stdout)
    assert figures["ndcg_at_10_after_80"] > max(figures["ndcg_at_10_after_10"], figures["popularity_ndcg_at_10"])
    assert figures["minutes_after_80"] > figures["minutes_after_10"] > 0
    assert min(figures[f"step_{part}_seconds"] for part in ("input", "forward", "update")) > 0
    assert "10,x" in cli("benchmark", "training", "--steps", "10,x", code=2).stderr
