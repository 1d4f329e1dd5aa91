"""`recbatch backtest`: nights replayed without a look at what came after them."""

import json
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from jobs import _contenders, _replay, _side_by_side
from recbatch import config, dataset, sources, train
from recbatch.errors import ConfigError
from recbatch.store import Lake

from .conftest import WORLD

UNTIL = date(2020, 4, 1)
NIGHTS = 3
LAST = UNTIL - timedelta(days=1)
"""The last night: what happens on it judges it."""
PEERS = ("recent", "popularity", "ease")
SETTINGS = config.load(overrides={"source.uri": WORLD, "train.max_steps": 30})


@pytest.fixture(scope="module")
def tables():
    return sources.read(SETTINGS.source, before=UNTIL, today=UNTIL)


def lists(tables, keep=None):
    """(night, contender, user) → ids of the list, for every judged user."""
    data = dataset.build(tables, SETTINGS.dataset, UNTIL)
    done = _replay.replay(data, SETTINGS, nights=NIGHTS, retrain_every=2, peers=PEERS, keep=keep)
    assert [night.day for night in done.nights] == [LAST - timedelta(days=back) for back in (2, 1, 0)]
    assert [night.trained_before for night in done.nights] == [LAST - timedelta(days=back) for back in (2, 2, 0)]
    return {
        (night.day, name, data.user_ids[int(user)].as_py()): data.item_ids.take(pa.array(row)).to_pylist()
        for night in done.nights
        for name, ranked in night.lists.items()
        for user, row in zip(ranked.users, np.where(ranked.positions < 0, None, ranked.positions), strict=True)
    }


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return Lake(tmp_path_factory.mktemp("kept") / "models")


@pytest.fixture(scope="module")
def before(tables, kept):
    return lists(tables, kept)


def test_what_was_trained_is_not_trained_again(tables, before, kept, monkeypatch):
    """After a kill, or with other peers: the shelf has what training would give, and nothing else is taken."""
    trained = []
    real = train.fit
    monkeypatch.setattr(train, "fit", lambda *words, **named: trained.append(1) or real(*words, **named))
    assert lists(tables, kept) == before
    assert trained == []
    model = sorted(kept.models.glob("m-*"))[-1]
    contenders = _contenders.Contenders(SETTINGS, {}, kept)
    assert contenders.kept(model.name) is not None
    weights = model / "served" / "candidates_0.npy"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert contenders.kept(model.name) is None, "a damaged one is trained anew"


def tampered(tables, since, how):
    events = tables.interactions
    late = np.asarray(events["occurred_at"]) >= np.datetime64(since)
    generator = np.random.default_rng(0)
    if how == "shuffled":
        items = np.array(events["item_id"].to_pylist())
        items[late] = generator.permutation(items[late])
        events = events.set_column(events.schema.get_field_index("item_id"), "item_id", pa.array(items))
    else:
        events = events.filter(pa.array(~late | (generator.random(len(late)) < 0.5)))
    return replace(tables, interactions=events)


@pytest.mark.parametrize("how", ["shuffled", "deleted"])
def test_what_comes_after_a_night_changes_nothing_in_its_lists(tables, before, how):
    after = lists(tampered(tables, LAST, how))
    common = before.keys() & after.keys()
    assert {(day, name) for day, name, _ in common} == {
        (LAST - timedelta(days=back), name) for back in range(NIGHTS) for name in ("recbatch", *PEERS)
    }
    assert [key for key in common if before[key] != after[key]] == []


def test_what_came_before_a_night_does_change_its_lists(tables, before):
    after = lists(tampered(tables, LAST - timedelta(days=20), "shuffled"))
    assert any(before[key] != after[key] for key in before.keys() & after.keys())


def test_midnight_belongs_to_the_day_that_begins(tables):
    events = tables.interactions.slice(0, 3)
    times = np.array(["2020-03-30T23:59:59.999999", "2020-03-31T00:00", "2020-04-01T00:00"], "datetime64[us]")
    events = events.set_column(2, "occurred_at", pa.array(times))
    data = dataset.build(replace(tables, interactions=events), SETTINGS.dataset, date(2020, 4, 2))
    eve = _replay.as_of(data, date(2020, 3, 31))
    assert len(eve.events.items) == 1
    came = _replay.what_came(data, eve, 1)
    assert came.occurred_at.tolist() == [times[1].astype(int)]


def test_the_command_counts_user_nights_and_says_how_far_ahead_it_is(cli, tables):
    arguments = ["--nights", "10", "--horizon-days", "2", "--until", UNTIL, "--source", WORLD]
    done = cli("backtest", *arguments, "--set", "train.max_steps=60", "--json", "--out", "out")
    figures = json.loads(done.stdout)
    assert all(not isinstance(value, dict | list) for value in figures.values()), "one flat object"
    assert (figures["first_night"], figures["last_night"]) == ("2020-03-21", "2020-03-30")
    assert figures["trainings"] == 2
    assert figures["warm_user_nights"] == figures["warm_ndcg_at_10_counted"] > 50
    for who in ("warm", "all"):
        assert figures[f"recent_{who}_ndcg_at_10"] <= figures[f"hindsight_{who}_ndcg_at_10"] < 1
    assert figures["all_ndcg_at_10_counted"] == figures["warm_user_nights"] + figures["cold_user_nights"]
    ratio = figures["recbatch_warm_ndcg_at_10"] / figures[f"{figures['best_peer_warm_ndcg_at_10']}_warm_ndcg_at_10"]
    assert figures["recbatch_over_best_peer_warm_ndcg_at_10"] == pytest.approx(ratio)
    assert ratio > 1
    assert (cli.directory / "out" / "quality.parquet").is_file()


def test_too_many_nights_are_a_fault_with_its_cure(cli):
    said = cli("backtest", "--nights", "9999", "--until", UNTIL, "--source", WORLD, code=65).stderr
    assert "fewer --nights" in said


def test_events_without_times_cannot_be_replayed(cli):
    folder = cli.directory / "data"
    folder.mkdir()
    (folder / "items.csv").write_text("item_id,title\n1,One\n2,Two\n")
    (folder / "interactions.csv").write_text("user_id,item_id\na,1\nb,2\n")
    said = cli("backtest", "--source", f"files:{folder}", code=65).stderr
    assert "benchmark quality --protocol R" in said


COLD = SETTINGS.model_copy(update={"train": SETTINGS.train.model_copy(update={"warm_start": False})})


@pytest.mark.long
def test_chains_side_by_side_are_the_same_nights(tables):
    data = dataset.build(tables, COLD.dataset, UNTIL)
    alone, beside = (
        _replay.replay(data, COLD, nights=NIGHTS, retrain_every=2, peers=("recent",), jobs=jobs) for jobs in (1, 2)
    )
    assert (alone.trainings, alone.settings) == (beside.trainings, beside.settings) == (2, alone.settings)
    assert [night.day for night in alone.nights] == [night.day for night in beside.nights]
    for one, other in zip(alone.nights, beside.nights, strict=True):
        assert one.trained_before == other.trained_before
        for name, ranked in one.lists.items():
            assert np.array_equal(ranked.positions, other.lists[name].positions)
            assert np.array_equal(ranked.scores, other.lists[name].scores)


def test_results_come_in_the_order_of_the_chains():
    told = []
    parts = [range(3), range(3, 9), range(9, 10)]
    found = _side_by_side.run(list, parts, 2, lambda *step: told.append(step))
    assert found == [list(part) for part in parts]
    assert told[-1] == ("nights", 10, 10)


def test_a_chain_ends_where_training_begins_anew():
    warm = SETTINGS.model_copy(update={"train": SETTINGS.train.model_copy(update={"max_warm_starts": 1})})
    assert _side_by_side.chains(30, 7, warm) == [range(14), range(14, 28), range(28, 30)]
    assert _side_by_side.chains(5, 2, COLD) == [range(2), range(2, 4), range(4, 5)]
    assert _side_by_side.chains(30, 7, SETTINGS) == [range(30)]


def test_jobs_beyond_the_memory_budget_are_refused_with_the_figures(tables):
    small = COLD.model_copy(update={"score": COLD.score.model_copy(update={"memory_budget": "2GiB"})})
    data = dataset.build(tables, small.dataset, UNTIL)
    with pytest.raises(
        ConfigError, match=r"--jobs 2 needs about \d+ MiB, 2 processes of \d+ MiB each.*2048 MiB.*--jobs 1"
    ):
        _replay.replay(data, small, nights=NIGHTS, retrain_every=2, peers=("recent",), jobs=2)
