"""Models on the shelf and the decision to train: random weights, no TensorFlow."""

import math
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

from recbatch import config, store
from recbatch.errors import InputMissing, StorageFailed, UsageError
from recbatch.model import History, Part, concatenate
from recbatch.store import Lake
from recbatch.train import (
    JUDGED,
    SERVED,
    Checkpoints,
    Fitted,
    decide,
    load,
    model_head,
    model_heads,
    model_key,
    predecessor,
    reject,
    save,
    train_digest,
)
from tests.unit._worlds import RUN_DATE, build

ITEMS = {name: name.upper() for name in "abcdef"}
SETTINGS = config.Train()
SEED = 42


def night(days_later=0, extra=()):
    """Users 1 and 2 on titles a to e before the first night; `extra` are (user, item, days before this one)."""
    known = [(str(user), item, 5.0) for user in (1, 2) for item in "abcde"]
    data = build([*known, *((user, item, days - days_later) for user, item, days in extra)], ITEMS)
    return replace(data, run_date=RUN_DATE + timedelta(days=days_later), fingerprint=f"{days_later}{extra}")


def fitted(seed=0, titles="abcde"):
    random = np.random.default_rng(seed)
    tables = random.normal(size=(2, len(titles), 3)).astype(np.float32)
    bias = np.zeros(len(titles), np.float32), np.zeros(3, np.float32)
    towers = concatenate(pa.array(list(titles)), [Part(*tables, *bias, History(math.inf, 9))], [1.0])
    return Fitted(towers, "next", 5, 10, ((2.0, 1.0),), 0.1, SETTINGS, SEED)


@pytest.fixture
def lake(tmp_path):
    made = Lake(tmp_path / "lake")
    made.create()
    return made


def put(lake, data, settings=SETTINGS, seed=SEED):
    return save(lake, fitted(1), fitted(2), model_head(data, settings, seed))


def decided(lake, data, settings=SETTINGS, seed=SEED):
    return decide(lake, data=data, run_date=data.run_date, settings=settings, seed=seed)


def test_round_trip(lake):
    model_id = put(lake, night())
    for which, seed in ((JUDGED, 1), (SERVED, 2)):
        towers = load(lake, model_id, which)
        expected = fitted(seed).towers
        assert towers.item_ids.equals(expected.item_ids)
        for name, array in expected.to_arrays().items():
            np.testing.assert_array_equal(towers.to_arrays()[name], array)
    assert not list(lake.staging.iterdir())


def test_the_manifest_tells_the_origin(lake):
    model_id = put(lake, night())
    (head,) = model_heads(lake)
    assert head["model_id"] == model_id
    assert head["trained_before"] == RUN_DATE.isoformat()
    expected = {"train_digest": train_digest(SETTINGS), "seed": SEED, "objective": "next", "epochs": 5, "steps": 10}
    assert expected.items() <= head.items()


def test_the_id_says_what_it_depends_on():
    key = model_key(night(), SETTINGS, SEED)
    assert key == model_key(night(), config.Train(mode="always", max_model_age_days=1), SEED)
    others = {
        model_key(night(1), SETTINGS, SEED),
        model_key(night(), config.Train(epochs=1), SEED),
        model_key(night(), SETTINGS, 43),
        model_key(night(), SETTINGS, SEED, parent=key),
    }
    assert len(others | {key}) == 5


def test_a_sound_model_is_kept_and_a_damaged_one_replaced(lake):
    model_id = put(lake, night())
    weights = lake.models / model_id / SERVED / "history_0.npy"
    before = weights.stat().st_ino
    put(lake, night())
    assert weights.stat().st_ino == before
    weights.write_bytes(b"damage")
    put(lake, night())
    assert load(lake, model_id, SERVED).dim == 4


class Harm:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (open, (str(self.trace), "w"))


def test_an_array_that_holds_code_is_not_loaded_whatever_its_seal_says(lake, tmp_path):
    folder = lake.models / put(lake, night())
    np.save(folder / SERVED / "history_0.npy", np.array([Harm(tmp_path / "ran")], object), allow_pickle=True)
    head = store.read_checked_json(folder / store.MANIFEST)
    store.seal(folder, {key: value for key, value in head.items() if key not in ("files", "checksum")})
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        load(lake, folder.name, SERVED)
    assert not (tmp_path / "ran").exists()


def test_saving_starts_over_what_a_kill_left_behind(lake):
    rubbish = lake.staging / model_key(night(), SETTINGS, SEED) / "judged"
    rubbish.mkdir(parents=True)
    (rubbish / "half.npy").write_bytes(b"half")
    model_id = put(lake, night())
    assert not store.faults(lake.models / model_id)
    assert not (lake.models / model_id / "judged" / "half.npy").exists()


@pytest.mark.parametrize("name", ["history_0.npy", "vocabulary.arrow"])
def test_one_flipped_bit_is_refused(lake, name):
    model_id = put(lake, night())
    path = lake.models / model_id / JUDGED / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StorageFailed, match="sha256 differs"):
        load(lake, model_id, SERVED)


def test_a_foreign_file_is_refused(lake):
    model_id = put(lake, night())
    np.save(lake.models / model_id / SERVED / "more.npy", np.zeros(1))
    with pytest.raises(StorageFailed, match="not in the manifest"):
        load(lake, model_id, SERVED)


def test_what_is_no_model_id_is_refused(lake):
    with pytest.raises(UsageError, match="no model id"):
        load(lake, "../../etc", SERVED)
    with pytest.raises(InputMissing):
        load(lake, "m-2024-03-01-0123456789ab", SERVED)


def test_trains_where_there_is_no_model(lake):
    decision = decided(lake, night())
    assert decision.train
    assert decision.model_id is None
    assert "no model" in decision.reason


def test_uses_a_model_that_fits(lake):
    model_id = put(lake, night())
    decision = decided(lake, night(3, [("1", "a", 1.0)]))
    assert (decision.train, decision.model_id) == (False, model_id)
    assert "3 days old" in decision.reason


def test_trains_when_the_model_is_old(lake):
    put(lake, night())
    assert not decided(lake, night(7)).train
    decision = decided(lake, night(8))
    assert decision.train
    assert "8 days old" in decision.reason


def test_trains_when_the_vocabulary_drifted(lake):
    put(lake, night())
    decision = decided(lake, night(2, [("1", "f", 1.0), ("2", "a", 1.0)]))
    assert decision.train
    assert "50.0% of the events since 2024-03-01" in decision.reason


@pytest.mark.parametrize("change", [{"settings": config.Train(epochs=3)}, {"seed": 7}])
def test_trains_when_settings_or_seed_changed(lake, change):
    put(lake, night())
    decision = decided(lake, night(1), **change)
    assert decision.train
    assert "Settings or seed" in decision.reason


def test_trains_when_asked_to(lake):
    put(lake, night())
    decision = decided(lake, night(1), config.Train(mode="always"))
    assert decision.train
    assert "asked" in decision.reason


def test_the_same_night_finds_its_own_model(lake):
    model_id = put(lake, night())
    for mode in ("auto", "always", "never"):
        assert decided(lake, night(), config.Train(mode=mode)).model_id == model_id
        assert not decided(lake, night(), config.Train(mode=mode)).train


def test_never_takes_an_old_model_but_not_none(lake):
    never = config.Train(mode="never")
    with pytest.raises(InputMissing, match="--train auto"):
        decided(lake, night(), never)
    model_id = put(lake, night())
    assert decided(lake, night(300), never).model_id == model_id


def test_no_model_from_the_future(lake):
    put(lake, night(5))
    assert "no model" in decided(lake, night()).reason
    with pytest.raises(InputMissing):
        decided(lake, night(), config.Train(mode="never"))


def test_a_damaged_model_is_none(lake):
    model_id = put(lake, night())
    (lake.models / model_id / SERVED / "history_0.npy").unlink()
    decision = decided(lake, night(1))
    assert decision.train
    assert "no sound model" in decision.reason
    older = put(lake, replace(night(), run_date=date(2024, 2, 28)))
    assert decided(lake, night(1)).model_id == older


def parent_run(lake, data, **head):
    facts = {"objective": "next"} | head
    return {"model_id": save(lake, fitted(1), fitted(2), model_head(data, SETTINGS, SEED) | facts)}


def test_training_goes_on_from_the_parent_runs_model(lake):
    parent, later = parent_run(lake, night()), night(8)
    assert predecessor(lake, parent, later, SETTINGS, SEED) == parent["model_id"]
    assert predecessor(lake, None, later, SETTINGS, SEED) == ""
    assert predecessor(lake, {"model_id": None}, later, SETTINGS, SEED) == ""
    assert predecessor(lake, parent, night(), SETTINGS, SEED) == ""  # of the same date
    assert predecessor(lake, parent, later, SETTINGS, SEED + 1) == ""
    for settings in ({"epochs": 3}, {"warm_start": False}):
        assert predecessor(lake, parent, later, config.Train(**settings), SEED) == ""


def test_the_gate_damage_and_long_chains_end_warm_starts(lake):
    parent, later = parent_run(lake, night(), warm_starts=SETTINGS.max_warm_starts), night(8)
    assert predecessor(lake, parent, later, SETTINGS, SEED) == ""
    parent = parent_run(lake, night(1))
    assert predecessor(lake, parent, later, SETTINGS, SEED)
    reject(lake, parent["model_id"], "worse")
    assert predecessor(lake, parent, later, SETTINGS, SEED) == ""
    parent = parent_run(lake, night(2))
    (lake.models / parent["model_id"] / JUDGED / "history_0.npy").unlink()
    assert predecessor(lake, parent, later, SETTINGS, SEED) == ""


def test_a_checkpoint_is_read_back_whole_or_not_at_all(lake):
    kept = Checkpoints(lake.resume / "m", seconds_apart=0)
    assert kept.load("0") is None
    arrays = [np.arange(5), np.ones((2, 3), np.float32)]
    state = np.random.default_rng(1).bit_generator.state
    kept.save("0", arrays, {"passes": 3, "random": state})
    found, facts = kept.load("0")
    assert facts == {"passes": 3, "random": state}
    for one, other in zip(found, arrays, strict=True):
        np.testing.assert_array_equal(one, other)
    file = lake.resume / "m" / "0.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert kept.load("0") is None
