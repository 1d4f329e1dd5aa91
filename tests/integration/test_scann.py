"""The exact twin decides: ScaNN's brute force equals it, ScaNN's approximations are held by their certificate."""

from dataclasses import replace

import numpy as np
import pytest

from recbatch import _compiling
from recbatch.config import Index as Settings
from recbatch.contracts import NO_ITEM, Exclusions
from recbatch.index import ExactIndex, ScannIndex, build_certified, decisions
from recbatch.store import Lake
from tests.unit.test_index import random_exclusions


def clustered(generator, items, dim=16, clusters=40):
    centres = generator.normal(size=(clusters, dim))
    return (centres[generator.integers(clusters, size=items)] + generator.normal(scale=0.4, size=(items, dim))).astype(
        np.float32
    )


def test_brute_force_equals_exact_search_in_every_bit_ties_and_heavy_users_included():
    generator = np.random.default_rng(0)
    candidates = clustered(generator, 900)
    candidates[100:400] = candidates[0]  # 301 equal candidates: any cut runs through a tie
    queries = np.concatenate([generator.normal(size=(60, 16)), candidates[:4]]).astype(np.float32)
    exclude = random_exclusions(generator, 64, 900, 899)
    for k in (5, 100, 900):
        exact = ExactIndex(candidates).search(queries, k, exclude)
        brute = ScannIndex.build(candidates, "brute").search(queries, k, exclude)
        np.testing.assert_array_equal(brute[0], exact[0])
        np.testing.assert_array_equal(brute[1], exact[1])


def test_finalists_are_ranked_compiled_as_they_are_by_numpy(monkeypatch):
    generator = np.random.default_rng(6)
    candidates = clustered(generator, 3000)
    candidates[100:400] = candidates[0]
    queries = np.concatenate([generator.normal(size=(400, 16)), candidates[:4]]).astype(np.float32)
    exclude = random_exclusions(generator, 404, 3000, 2999)
    index = ScannIndex.build(candidates, "ah")
    monkeypatch.setattr(_compiling, "is_due", lambda operations: False)
    plain = index.search(queries, 100, exclude)
    monkeypatch.setattr(_compiling, "is_due", lambda operations: True)
    compiled = index.search(queries, 100, exclude)
    np.testing.assert_array_equal(compiled[0], plain[0])
    np.testing.assert_array_equal(compiled[1].view(np.int32), plain[1].view(np.int32))


@pytest.mark.parametrize("engine", ["ah", "tree"])
def test_approximate_search_never_pads_never_returns_what_is_excluded_and_is_certified(engine):
    generator = np.random.default_rng(1)
    candidates = clustered(generator, 4000)
    queries = generator.normal(size=(200, 16)).astype(np.float32)
    exclude = random_exclusions(generator, 200, 4000, 3950)
    built = build_certified(
        candidates, Settings(engine=engine, target_recall=0.97), queries=queries, exclude=exclude, k=100
    )
    assert built.certificate.recall >= 0.97, built.decisions
    found, scores = built.index.search(queries, 100, exclude)
    left = 4000 - np.diff(exclude.offsets)
    assert ((found != NO_ITEM).sum(axis=1) == np.minimum(left, 100)).all()
    assert np.isfinite(scores[found != NO_ITEM]).all()
    for row in range(200):
        mine = found[row][found[row] != NO_ITEM]
        assert len(np.unique(mine)) == len(mine)
        assert not np.isin(mine, exclude.items[exclude.offsets[row] : exclude.offsets[row + 1]]).any()


def test_an_index_that_cannot_reach_its_target_is_replaced_by_exact_search():
    generator = np.random.default_rng(2)
    candidates = generator.normal(size=(3000, 16)).astype(np.float32)
    queries = generator.normal(size=(50, 16)).astype(np.float32)
    nothing = Exclusions.none(50)
    built = build_certified(
        candidates, Settings(engine="ah", target_recall=1.0), queries=queries, exclude=nothing, k=100
    )
    assert built.certificate.recall == 1.0
    if built.index.engine == "exact":
        assert "exact search takes over" in built.decisions[-1]
    assert "search effort doubled" in built.decisions[1]


def test_auto_measures_a_curve_chooses_the_cheapest_that_reaches_the_target_and_decides_so_again(tmp_path):
    generator = np.random.default_rng(3)
    candidates, queries = clustered(generator, 21_000), clustered(generator, 300)
    exclude = random_exclusions(generator, 300, 21_000, 300)
    settings = Settings(exact_seconds=0, target_recall=0.95)
    how = {"queries": queries, "exclude": exclude, "k": 20, "users": 10_000_000}
    first = build_certified(candidates, settings, **how)
    assert first.calibration is not None
    trials = first.calibration.trials
    assert {trial.engine for trial in trials} == {"exact", "leaves", "tree", "ah", "brute"}
    for engine in ("leaves", "tree", "ah"):
        curve = sorted((trial.effort, trial.recall) for trial in trials if trial.engine == engine)
        assert len(curve) > 1
        assert [recall for _, recall in curve] == sorted(recall for _, recall in curve), "more effort finds more"
    good = [trial for trial in trials if trial.recall >= 0.95]
    cheapest = min(good, key=lambda trial: trial.seconds_for(10_000_000))
    assert first.decisions[0].startswith(f"engine {cheapest.engine} ")
    lake = Lake(tmp_path)
    decisions.keep(lake, "m-x", 20, settings, {"lists": first.calibration})
    stored = decisions.stored(lake, "m-x", 20, settings)["lists"]
    assert replace(stored, replayed=False) == first.calibration
    again = build_certified(candidates, settings, **how, decided=stored)
    assert again.index.engine == first.index.engine
    assert "as decided before" in again.decisions[0]
    assert not decisions.stored(lake, "m-x", 20, Settings(target_recall=0.9)), "other settings, another decision"
    assert not decisions.damage(lake)
    path = decisions.files(lake)[0]
    path.write_text(path.read_text().replace("true", "false").replace("0", "1", 1))
    assert decisions.damage(lake)
    assert not decisions.stored(lake, "m-x", 20, settings)
