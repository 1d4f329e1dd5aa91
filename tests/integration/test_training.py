"""Training on small planted worlds, and Keras against NumPy."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recbatch import config
from recbatch.errors import DataError
from recbatch.model import History, acc_at_k, concatenate, known_events
from recbatch.model.weights import event_weights
from recbatch.train import Checkpoints, fit, tutorial
from tests.unit._worlds import build

TASTES = 5
TITLES = 50
SMALL = config.Train(embedding_dim=8, epochs=60, batch_size=32, max_history=30)


def planted(seed=0, users=120, timed=True):
    """Each user likes one of five groups of ten titles and takes 16 of 20 events from it, in random order."""
    random = np.random.default_rng(seed)
    events = []
    for user in range(users):
        own = random.permutation(np.arange(user % TASTES, TITLES, TASTES))
        other = random.choice(TITLES, 4, replace=False)
        for place, title in enumerate(random.permutation(np.unique(np.concatenate([own, other])))):
            events.append((f"u{user}", f"{title}", 60.0 - place if timed else None))
    return build(events, {str(n): f"Title {n}" for n in range(TITLES)})


def halves(data):
    """Each user's first three quarters, and the rest."""
    events = data.events
    place = np.arange(len(events.items)) - np.repeat(events.offsets[:-1], events.counts)
    early = place < np.repeat(events.counts * 3 // 4, events.counts)
    return events.where(early), events.where(~early)


def bits(fitted):
    return {name: array.tobytes() for name, array in fitted.towers.to_arrays().items()}


@pytest.fixture(scope="module")
def world():
    return planted()


@pytest.mark.parametrize("objective", ["next", "fill_in"])
def test_it_finds_planted_tastes_where_popularity_cannot(world, objective):
    train, test = halves(world)
    calls = []
    settings = SMALL.model_copy(update={"objective": objective})
    fitted = fit(train, world, settings, 1, progress=lambda *call: calls.append(call))
    assert fitted.objective == objective
    assert len(fitted.towers.item_ids) == world.num_items
    found = acc_at_k(fitted.towers, train, test, (10,))[10]
    popular = replace(fitted.towers, candidates=np.zeros_like(fitted.towers.candidates))
    popular.candidates[:, -1] = np.bincount(train.items, minlength=TITLES)
    assert found > acc_at_k(popular, train, test, (10,))[10] + 0.2
    assert [call[1] for call in calls] == list(range(1, calls[0][2] + 1))
    for curve in fitted.losses:
        assert len(curve) == fitted.epochs
        assert curve[-1] < curve[0]


def test_the_same_seed_gives_the_same_bits(world):
    short = SMALL.model_copy(update={"epochs": 3})
    once, again, other = (fit(world.events, world, short, seed) for seed in (5, 5, 6))
    assert bits(once) == bits(again)
    assert bits(once) != bits(other)


def test_a_loss_that_explodes_ends_the_night_in_one_line(world):
    settings = SMALL.model_copy(update={"epochs": 3, "learning_rate": 1e30})
    with pytest.raises(DataError, match=r"the loss of pass \d is (nan|inf), .* lower train.learning_rate"):
        fit(world.events, world, settings, 1)


def test_a_refit_repeats_the_epochs_of_the_judged_model(world):
    train, _ = halves(world)
    judged = fit(train, world, SMALL.model_copy(update={"epochs": 2}), 1)
    served = fit(world.events, world, SMALL, 1, epochs=judged.epochs)
    assert (served.epochs, served.steps) == (judged.epochs, judged.steps)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [1, 4, 7])
def test_an_interrupted_training_ends_in_the_same_bits(world, tmp_path, after):
    short = SMALL.model_copy(update={"epochs": 4})
    whole = fit(world.events, world, short, 5)

    def kill(stage, done, total):
        if done == after:
            raise Killed

    kept = Checkpoints(tmp_path / "m", seconds_apart=0)
    with pytest.raises(Killed):
        fit(world.events, world, short, 5, checkpoints=kept, progress=kill)
    calls = []
    resumed = fit(world.events, world, short, 5, checkpoints=kept, progress=lambda *call: calls.append(call))
    assert bits(resumed) == bits(whole)
    assert resumed.losses == whole.losses
    assert len(calls) <= 8 - after + 1  # the pass that was not kept is made again


def test_a_budget_is_kept_and_repeatable(world):
    settings = SMALL.model_copy(update={"epochs": 100_000, "max_steps": 1_000_000})
    fitted = fit(world.events, world, settings, 1, budget=4.0)
    assert fitted.budget_reached
    assert 1 <= fitted.epochs < 100_000
    assert fitted.seconds < 25  # most of it TensorFlow's tracing
    again = fit(world.events, world, settings, 1, epochs=fitted.epochs)
    assert again.epochs == fitted.epochs
    if all(len(curve) == fitted.epochs for curve in fitted.losses):
        assert bits(again) == bits(fitted)


def test_past_its_deadline_training_ends_with_the_best_weights(world):
    settings = SMALL.model_copy(update={"epochs": 50})
    fitted = fit(world.events, world, settings, 1, epochs=50, budget=1e-6)
    assert [len(curve) for curve in fitted.losses] == [1, 1]
    assert fitted.budget_reached
    assert fitted.epochs == 50


def test_a_warm_start_keeps_the_old_and_takes_in_the_new(world):
    known = world.events.where(world.events.items % 25 != 3)
    parent = fit(known, world, SMALL, 1)
    child = fit(world.events, world, SMALL, 1, start=parent.towers)
    assert child.warm
    assert child.epochs == round(SMALL.epochs * SMALL.warm_epochs)
    assert len(child.towers.item_ids) == world.num_items > len(parent.towers.item_ids)
    train, test = halves(world)
    cold = fit(train, world, SMALL, 1)
    half = fit(train, world, SMALL, 1, start=fit(train.where(train.items % 25 != 3), world, SMALL, 1).towers)
    scratch, warm = (acc_at_k(one.towers, train, test, (10,))[10] for one in (cold, half))
    assert warm > scratch - 0.04


def test_features_speak_for_newcomers_and_for_titles_without_events():
    random = np.random.default_rng(0)
    events, people = [], {}
    for user in range(200):
        taste = user % TASTES
        people[f"u{user:03}"] = f"group {taste}"
        for place, title in enumerate(random.permutation(np.arange(taste, TITLES, TASTES))[:6]):
            events.append((f"u{user:03}", str(title), 60.0 - place))
    people |= {f"v{taste}": f"group {taste}" for taste in range(TASTES)}
    names = {str(n): f"Title {n}" for n in range(TITLES + TASTES)}
    users = pa.table({"user_id": list(people), "gender": list(people.values())})
    data = build(events, names, users=users)
    genres = pa.array([[f"genre {int(n) % TASTES}"] for n in data.item_ids.to_pylist()], pa.list_(pa.string()))
    data = replace(data, items=data.items.append_column("genres", genres))
    towers = fit(data.events, data, SMALL, 1).towers.with_items(data)
    assert len(towers.item_ids) == TITLES + TASTES
    newcomers = np.flatnonzero(data.events.counts == 0)
    scores = towers.embed(data.events.of_users(newcomers), towers.profiles(data)[newcomers]) @ towers.candidates.T
    taste = np.array([int(name) % TASTES for name in towers.item_ids.to_pylist()])
    old = np.array([int(name) < TITLES for name in towers.item_ids.to_pylist()])
    for place, user in enumerate(newcomers):
        own = int(data.user_ids[user].as_py()[1:])
        assert (taste[old][np.argsort(-scores[place, old])[:8]] == own).mean() > 0.7
        unseen = scores[place, ~old]
        assert taste[~old][np.argmax(unseen)] == own


def test_nothing_is_learned_from_users_of_inhuman_volume(world):
    short = SMALL.model_copy(update={"epochs": 2})
    flagged = np.zeros(world.num_users, np.bool_)
    flagged[7] = True
    kept = world.events.where(world.events.users_of_events() != 7)
    assert bits(fit(world.events, replace(world, inhuman=flagged), short, 1)) == bits(fit(kept, world, short, 1))


def test_many_users_get_fewer_epochs(world):
    limited = fit(world.events, world, SMALL.model_copy(update={"max_steps": 8}), 1)
    assert limited.epochs == 2  # 120 users in batches of 32 are 4 steps


def test_a_large_catalogue_is_trained_on_a_sample(world, monkeypatch):
    monkeypatch.setattr("recbatch.train.candidates.FULL_SOFTMAX_TITLES", 10)
    monkeypatch.setattr("recbatch.train.candidates.SAMPLED_TITLES", 20)
    monkeypatch.setattr("recbatch.model.two_tower._MATRIX_TITLES", 10)
    train, test = halves(world)
    settings = SMALL.model_copy(update={"objective": "fill_in", "batch_size": 8, "epochs": 20})
    fitted = fit(train, world, settings, 2**40)
    assert acc_at_k(fitted.towers, train, test, (10,))[10] > 0.6


def test_one_epoch_never_exceeds_the_steps(world):
    settings = SMALL.model_copy(update={"objective": "fill_in", "batch_size": 2, "max_steps": 3})
    fitted = fit(world.events, world, settings, 1)
    assert (fitted.epochs, fitted.steps) == (1, 3)


def test_without_times_next_becomes_fill_in():
    timeless = planted(users=20, timed=False)
    fitted = fit(timeless.events, timeless, SMALL.model_copy(update={"epochs": 1}), 1)
    assert fitted.objective == "fill_in"


def test_titles_without_an_event_are_not_in_the_vocabulary(world):
    seen = world.events.where(world.events.items % 2 == 0)
    fitted = fit(seen, world, SMALL.model_copy(update={"epochs": 1}), 1)
    assert fitted.towers.item_ids.equals(world.item_ids.take(pa.array(np.arange(0, TITLES, 2))))
    assert known_events(world.events, world, fitted.towers).counts.sum() == len(seen.items)


def test_nothing_to_learn_from_is_said():
    empty = build([("u", "1", 1.0)], {"1": "One"})
    with pytest.raises(DataError, match="no events to train on"):
        fit(empty.events.where(np.zeros(1, np.bool_)), empty, SMALL, 1)


def test_one_user_with_one_event_trains():
    tiny = build([("u", "1", 1.0)], {"1": "One", "2": "Two"})
    fitted = fit(tiny.events, tiny, SMALL.model_copy(update={"epochs": 2}), 1)
    assert np.isfinite(fitted.towers.candidates).all()


def test_keras_and_numpy_agree(world):
    from recbatch.model import two_tower

    tf = two_tower.tf
    reading = History(5.0, 12)
    model = two_tower.TwoTower(np.linspace(-2, 2, TITLES).astype(np.float32), 8)
    events = world.events.of_users(np.arange(40))
    batch = {
        "rows": events.users_of_events(),
        "titles": events.items,
        "weights": event_weights([reading], events)[0],
    }
    model.query_tower.bias.assign(np.linspace(-1, 1, 8))
    keras = model.query_tower(**two_tower.tensors(batch), size=tf.constant(40))
    candidates = model.candidate_tower(tf.range(TITLES))
    towers = concatenate(world.item_ids, [two_tower.export(model, reading)], [1.0])
    np.testing.assert_allclose(towers.embed(events), keras.numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(towers.candidates, candidates.numpy(), rtol=0, atol=1e-5)


def rated(data):
    """Titles of the user's own group are rated about 5, others about 2; a fifth is not rated."""
    events, random = data.events, np.random.default_rng(0)
    own = np.array([int(name[1:]) % TASTES for name in data.user_ids.to_pylist()])[events.users_of_events()]
    group = np.array([int(name) % TASTES for name in data.item_ids.to_pylist()])[events.items]
    ratings = np.where(own == group, 5, 2) + random.normal(scale=0.3, size=len(own))
    ratings[random.random(len(own)) < 0.2] = np.nan
    return replace(data, events=replace(events, ratings=ratings.astype(np.float32)))


def test_planted_ratings_are_predicted_interrupted_or_not_and_further_from_a_parent(world, tmp_path):
    data = rated(world)
    train, test = halves(data)
    test = test.where(np.isfinite(test.ratings))
    joint = SMALL.model_copy(update={"rating_weight": 1.0, "objective": "fill_in", "epochs": 30})
    whole = fit(train, data, joint, 1)

    def error(towers):
        rows = np.searchsorted(np.arange(data.num_items), test.items).astype(np.int32)
        said = towers.ratings(towers.embed(train), test.users_of_events(), rows)
        return float(np.sqrt(np.mean((said - test.ratings) ** 2)))

    assert len(whole.towers.item_ids) == data.num_items
    of_the_mean = float(np.std(test.ratings))
    assert error(whole.towers) < 0.8 * of_the_mean

    def kill(stage, done, total):
        if done == 2:
            raise Killed

    kept = Checkpoints(tmp_path / "m", seconds_apart=0)
    with pytest.raises(Killed):
        fit(train, data, joint, 1, checkpoints=kept, progress=kill)
    assert bits(fit(train, data, joint, 1, checkpoints=kept)) == bits(whole)
    child = fit(train, data, joint, 1, epochs=1, start=whole.towers)
    assert error(child.towers) < 0.85 * of_the_mean


def test_without_ratings_or_weight_nothing_changes(world):
    short = SMALL.model_copy(update={"epochs": 2, "objective": "fill_in"})
    plain = bits(fit(world.events, world, short, 5))
    assert bits(fit(world.events, world, short.model_copy(update={"rating_weight": 1.0}), 5)) == plain
    data = rated(world)
    assert bits(fit(data.events, data, short, 5)) == plain


def test_the_rating_task_counts_rows_and_speaks_as_its_twin():
    from recbatch.model import rating_task, two_tower

    random = np.random.default_rng(0)
    queries, candidates = (random.normal(size=(n, 5)).astype(np.float32) for n in (6, 7))
    rows, columns = np.array([0, 3, 3], np.int32), np.array([6, 1, 2], np.int32)
    ratings = random.normal(size=3).astype(np.float32)
    task = rating_task.RatingTask(4, 0.5)
    sides = two_tower.tensors({"queries": queries, "candidates": candidates})
    found = task(**sides, **two_tower.tensors({"rows": rows, "columns": columns, "ratings": ratings}))
    said = task.export(0.0, 1.0).predict(queries[rows, :-1], candidates[columns, :-1])
    assert float(found) == pytest.approx(0.5 * 6 * np.mean((said - ratings) ** 2), rel=1e-5)
    assert (
        float(task(**sides, **two_tower.tensors({"rows": rows[:0], "columns": rows[:0], "ratings": ratings[:0]}))) == 0
    )


def test_the_tutorial_runs_and_is_repeatable(world):
    train, test = halves(world)
    sides = (train.users_of_events(), train.items, test.users_of_events(), test.items)
    first = tutorial(*sides, num_users=world.num_users, num_items=TITLES)
    assert list(first) == [1, 5, 10, 50, 100]
    assert first[1] < first[10] < first[50]
    assert first == tutorial(*sides, num_users=world.num_users, num_items=TITLES)
