"""What is judged, on whom, and when the gate says no."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from recbatch import config, evaluate, metrics, score, split
from recbatch.contracts import NO_ITEM, Lists
from recbatch.errors import ConfigError
from recbatch.score import Ranker

from ._worlds import build, random_world

TITLES = {str(n): f"t{n}" for n in range(8)}


def lists_of(users, positions):
    positions = np.array(positions, dtype=np.int32)
    blank = np.full(positions.shape, NO_ITEM, dtype=np.int32)
    return Lists(users, positions, np.zeros(positions.shape, np.float32), np.zeros(positions.shape, np.int8), blank)


def judged_world():
    """User a: history 0, 1, then 2 twice and 1 again; user b: cold, then 3 and 4."""
    events = [
        ("a", "0", 20),
        ("a", "1", 19),
        ("a", "2", 1),
        ("a", "2", 0.5),
        ("a", "1", 0.4),
        ("b", "3", 1),
        ("b", "4", 0.5),
    ]
    data = build(events, TITLES)
    return data, split.by_time(data, config.Judge(users_wanted=2))


def test_a_pair_counts_once_and_a_seen_title_is_no_pair():
    data, parts = judged_world()
    pairs = evaluate.held_out(parts, keep_seen=False)
    assert data.user_ids.take(pairs.users).to_pylist() == ["a", "b"]
    assert list(zip(pairs.user_of.tolist(), pairs.items.tolist(), strict=True)) == [(0, 2), (1, 3), (1, 4)]
    assert pairs.warm.tolist() == [True, False]
    kept = evaluate.held_out(parts, keep_seen=True)
    assert list(zip(kept.user_of.tolist(), kept.items.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 3), (1, 4)]


def test_many_users_are_represented_by_evenly_spaced_ones():
    random = np.random.default_rng(0)
    users = [f"u{number:03}" for number in range(300)]
    events = [
        (user, f"{item}", 1.5 - at / 4) for user in users for at, item in enumerate(random.permutation(6)[:4] + 1)
    ]
    data = build(events, TITLES)
    parts = split.by_time(data, config.Judge(users_wanted=200))
    everybody = evaluate.held_out(parts, keep_seen=False)
    some = evaluate.held_out(parts, keep_seen=False, most=50)
    assert len(some.users) == 50 and np.ptp(np.diff(some.users)) <= 1
    mine = np.isin(everybody.users[everybody.user_of], some.users)
    assert (some.users[some.user_of] == everybody.users[everybody.user_of][mine]).all()
    assert (some.items == everybody.items[mine]).all() and (some.occurred_at == everybody.occurred_at[mine]).all()
    assert (some.history == everybody.history[np.isin(everybody.users, some.users)]).all()
    assert (evaluate.held_out(parts, keep_seen=False, most=300).items == everybody.items).all()


def test_ranks_are_places_in_the_users_own_list():
    _, parts = judged_world()
    pairs = evaluate.held_out(parts, keep_seen=False)
    lists = lists_of(pairs.users, [[5, 2, 3, NO_ITEM], [4, 2, 1, NO_ITEM]])
    assert evaluate.ranks_of(pairs, lists).tolist() == [2, 0, 1]


def test_metrics_count_cold_users_and_name_their_segment():
    data, parts = judged_world()
    pairs = evaluate.held_out(parts, keep_seen=False)
    contenders = {
        "model": lists_of(pairs.users, [[5, 2, 3], [4, 2, 1]]),
        "popular": lists_of(pairs.users, [[2, 5, 6], [5, 6, 7]]),
    }
    outcome = evaluate.measure(contenders, pairs, data, config.Judge(), protocol="time:2d", seed=0)
    found = {(row.metric, row.k, row.segment, row.source): row for row in outcome.metrics}
    assert found["recall", 10, "all", "model"].value == pytest.approx((1 / 1 + 1 / 2) / 2)
    assert found["recall", 10, "status=warm", "popular"].value == 1
    assert found["recall", 10, "status=cold", "popular"].value == 0
    assert found["recall", 10, "status=cold", "model"].users == 1
    assert outcome.holdout["rank"].to_pylist() == [2, None, 1]
    assert [(result.check, result.severity, result.passed) for result in outcome.gate] == [
        ("gate_judged", "warn", False)
    ]


def gate_of(model_ranks, baseline_ranks, **settings):
    users = len(model_ranks)
    data = build([(f"u{n:03}", "0", 20) for n in range(users)] + [(f"u{n:03}", "1", 0.5) for n in range(users)], TITLES)
    parts = split.by_time(data, config.Judge(users_wanted=users))
    pairs = evaluate.held_out(parts, keep_seen=False)

    def at(rank):
        return [1 if place == rank else 7 for place in range(1, 11)]

    contenders = {
        "model": lists_of(pairs.users, [at(rank) for rank in model_ranks]),
        "popular": lists_of(pairs.users, [at(rank) for rank in baseline_ranks]),
    }
    outcome = evaluate.measure(contenders, pairs, data, config.Judge(**settings), protocol="time:1d", seed=0)
    return {result.check: result for result in outcome.gate}["gate_not_worse_than_popular"]


def test_the_gate_stops_what_is_worse_beyond_chance_and_says_by_how_much():
    worse = gate_of([0] * 60, [1] * 60)
    assert not worse.passed
    assert worse.severity == "error"
    assert worse.observed == "ndcg@10 0.0000 on 60 users"
    assert "difference -1.0000" in worse.detail
    assert gate_of([1] * 60, [1] * 60).passed
    assert gate_of([1] * 60, [0] * 60).passed


def test_the_gate_forgives_chance_and_what_max_drop_allows():
    noise = np.random.default_rng(0).integers(1, 11, size=(2, 60))
    assert gate_of(*noise.tolist()).passed
    slightly = [1] * 50 + [2] * 10
    assert not gate_of([2] * 60, [1] * 60).passed
    assert gate_of([2] * 60, [1] * 60, max_drop=0.4).passed
    assert not gate_of(slightly, [1] * 60).passed
    assert gate_of(slightly, [1] * 60, max_drop=0.1).passed


def test_a_contender_equal_to_the_baseline_passes_and_the_table_is_sorted():
    data, _ = random_world(5)
    parts = split.by_time(data, config.Judge(users_wanted=50))
    pairs = evaluate.held_out(parts, keep_seen=False)
    popular = score.by_popularity(data, parts.train, date(2024, 2, 20), config.Popular())
    lists = Ranker(popular).rank(parts.train, pairs.users, 30)
    outcome = evaluate.measure(
        {"model": lists, "popular": lists}, pairs, data, config.Judge(users_needed=5), protocol="x", seed=0
    )
    assert all(result.passed for result in outcome.gate)
    table = evaluate.metrics_table(outcome.metrics)
    assert table.num_rows == len(outcome.metrics) > 0
    assert table.sort_by([(name, "ascending") for name in ("metric", "k", "segment", "source", "protocol")]).equals(
        table
    )


def grouped_world(groups, model_ranks, popular_ranks, **settings):
    """One user per rank, each with one event before the judged day, one on it, and a group."""
    names = [f"u{n:03}" for n in range(len(groups))]
    listed = pa.table({"user_id": names, "group": groups})
    data = build([(u, "0", 20) for u in names] + [(u, "1", 0.5) for u in names], TITLES, users=listed)
    pairs = evaluate.held_out(split.by_time(data, config.Judge(users_wanted=len(names))), keep_seen=False)

    def at(ranks):
        return lists_of(pairs.users, [[1 if place == rank else 7 for place in range(1, 11)] for rank in ranks])

    contenders = {"model": at(model_ranks), "popular": at(popular_ranks), "parent": at(popular_ranks)}
    return evaluate.measure(contenders, pairs, data, config.Judge(**settings), protocol="time:1d", seed=0)


def test_a_segment_below_its_floor_fails_the_gate_by_name_figure_and_floor():
    groups = ["a"] * 60 + ["b"] * 60
    outcome = grouped_world(groups, [1] * 60 + [3] * 60, [2] * 60 + [1] * 60, segment_floors={"group=b": 0.8})
    (floor,) = [result for result in outcome.gate if result.check.startswith("gate_floor")]
    assert floor in outcome.failed
    assert floor.check == "gate_floor_group=b"
    assert floor.observed == "ndcg@10 0.5000 on 60 users of group=b"
    assert floor.expected == "at least 0.8000, 0.8 times popularity's 1.0000, as far as chance explains"
    assert floor.detail.startswith("-0.3000 from its floor")
    kept = grouped_world(groups, [1] * 60 + [3] * 60, [2] * 60 + [1] * 60, segment_floors={"group=b": 0.5})
    assert not [result for result in kept.failed if result.check.startswith("gate_floor")]


def test_a_feature_stands_for_its_values_and_a_single_value_goes_first():
    groups = ["a"] * 60 + ["b"] * 60 + [None] * 5
    ranks = [3] * 125, [1] * 125
    outcome = grouped_world(groups, *ranks, segment_floors={"group=a": 0.4, "group": 0.8, "activity": 0.4})
    found = {result.check: result.passed for result in outcome.gate if result.check.startswith("gate_floor")}
    assert found == {"gate_floor_group=a": True, "gate_floor_group=b": False, "gate_floor_activity=1-4": True}
    measured = {row.segment: row.users for row in outcome.metrics}
    assert measured == {
        "all": 125, "status=warm": 125, "source=pinned": 125, "group=a": 60, "group=b": 60, "activity=1-4": 125
    }  # fmt: skip


def test_a_small_segment_is_not_judged_and_says_so():
    outcome = grouped_world(["a"] * 60 + ["b"] * 49, [0] * 109, [0] * 109, segment_floors={"group=b": 5, "group=c": 5})
    assert outcome.failed == ()
    found = {result.check: result for result in outcome.gate}
    assert found["gate_floor_group=b"].observed == "49 users"
    assert found["gate_floor_group=b"].detail == "not judged: fewer users than judge.users_needed, 50"
    assert found["gate_floor_group=c"].observed == "0 users"


def test_a_floor_on_an_unknown_feature_names_those_there_are():
    with pytest.raises(ConfigError, match="no user feature 'gender'; there is status, activity, group"):
        grouped_world(["a"] * 60, [1] * 60, [1] * 60, segment_floors={"gender=F": 1})
    for floors in ({"activity=7": 1}, {"status=hot": 1}, {"=x": 1}, {"group=a": -1}):
        with pytest.raises(ConfigError, match="segment_floors"):
            config.load(None, {"judge.segment_floors": floors})


def test_floors_survive_the_settings_file(tmp_path):
    settings = config.load(None, {"judge.segment_floors": '{"group=a b" = 0.9, activity = 1}'})
    assert settings.judge.segment_floors == {"group=a b": 0.9, "activity": 1.0}
    (tmp_path / "recbatch.toml").write_text(config.to_toml(settings))
    assert config.load(tmp_path / "recbatch.toml") == settings


def test_differences_are_paired_the_same_resamples_for_all():
    generator = np.random.default_rng(1)
    ranks = generator.integers(1, 11, size=(2, 80))
    outcome = grouped_world(["a"] * 80, *ranks.tolist())
    (row,) = [
        row
        for row in outcome.differences
        if (row.metric, row.k, row.segment, row.baseline) == ("ndcg", 10, "all", "popular")
    ]
    gains = 1 / np.log2(ranks + 1)
    low, high = metrics.bootstrap_intervals((gains[0] - gains[1])[:, None], 1000, 0)
    assert (row.value, row.ci_low, row.ci_high) == pytest.approx((np.mean(gains[0] - gains[1]), low[0], high[0]))
    assert (row.contender, row.users) == ("model", 80)
    figures = {row.source: row for row in outcome.metrics if (row.metric, row.k, row.segment) == ("ndcg", 10, "all")}
    assert row.value == pytest.approx(figures["model"].value - figures["popular"].value)
    assert {row.baseline for row in outcome.differences} == {"popular", "parent"}


def test_a_challenger_that_failed_is_compared_with_the_model_that_took_its_place():
    failed = grouped_world(["a"] * 60, [3] * 60, [1] * 60)
    both = grouped_world(["a"] * 60, [1] * 60, [1] * 60).after(failed)
    pairs = {(row.contender, row.baseline) for row in both.differences}
    assert pairs == {("model", "popular"), ("model", "parent"), ("challenger", "popular"), ("challenger", "model")}
