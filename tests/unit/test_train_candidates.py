"""The titles that a training step compares."""

import numpy as np
import pytest

from recbatch.train import candidates
from recbatch.train.candidates import Candidates

EXAMPLES = {
    "seen_rows": np.array([0, 0, 1], np.int32),
    "seen_titles": np.array([3, 40, 5], np.int32),
    "target_rows": np.array([0, 1], np.int32),
    "target_titles": np.array([7, 49], np.int32),
    "importance": np.ones(2, np.float32),
}


def test_a_small_catalogue_is_compared_whole():
    batch = Candidates(np.ones(50, np.float32), np.random.default_rng(0)).batch(EXAMPLES)
    np.testing.assert_array_equal(batch["candidate_titles"], np.arange(50))
    np.testing.assert_array_equal(batch["target_columns"], EXAMPLES["target_titles"])
    np.testing.assert_array_equal(batch["seen_columns"], EXAMPLES["seen_titles"])
    assert "candidate_probability" not in batch


@pytest.fixture
def sampled(monkeypatch):
    monkeypatch.setattr(candidates, "FULL_SOFTMAX_TITLES", 10)
    monkeypatch.setattr(candidates, "SAMPLED_TITLES", 20)


@pytest.mark.parametrize("seed", range(10))
def test_a_sample_holds_the_answers_and_knows_its_columns(sampled, seed):
    maker = Candidates(np.ones(50, np.float32), np.random.default_rng(seed))
    for _ in range(2):  # nothing is left over from the step before
        batch = maker.batch(EXAMPLES)
        titles = batch["candidate_titles"]
        assert len(titles) <= 22
        assert (np.diff(titles) > 0).all()
        np.testing.assert_array_equal(titles[batch["target_columns"]], [7, 49])
        kept = np.isin(EXAMPLES["seen_titles"], titles)
        np.testing.assert_array_equal(titles[batch["seen_columns"]], EXAMPLES["seen_titles"][kept])
        np.testing.assert_array_equal(batch["seen_rows"], EXAMPLES["seen_rows"][kept])


def test_the_probability_is_that_of_the_draw(sampled):
    random = np.random.default_rng(0)
    popularity = random.integers(1, 200, 50).astype(np.float32)
    maker, drawn, expected = Candidates(popularity, random), np.zeros(50), np.zeros(50)
    nights = 3000
    for _ in range(nights):
        answers = random.choice(50, 8, p=popularity / popularity.sum()).astype(np.int32)
        batch = maker.batch(EXAMPLES | {"target_titles": answers, "target_rows": np.zeros(8, np.int32)})
        drawn[batch["candidate_titles"]] += 1
        expected[batch["candidate_titles"]] = batch["candidate_probability"]
    np.testing.assert_allclose(drawn / nights, expected, atol=0.05)
