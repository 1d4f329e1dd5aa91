"""Laws of the search in leaves: exact among what it visits, the same bits in every way and however users are batched."""

from dataclasses import replace

import numpy as np
import pytest

from recbatch.config import Index as Settings
from recbatch.contracts import NO_ITEM, Exclusions
from recbatch.index import ExactIndex, LeafIndex, _compiled, build_certified, leaves
from tests.unit.test_index import random_exclusions
from tests.unit.ways import HERE, in_way


def clustered(generator, items, dim, clusters=40):
    centres = generator.normal(size=(clusters, dim))
    scattered = generator.normal(scale=0.4, size=(items, dim))
    return (centres[generator.integers(clusters, size=items)] + scattered).astype(np.float32)


def agree(one, other):
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1].view(np.int32), other[1].view(np.int32))


def rows_of(exclude, row):
    part = slice(exclude.offsets[row], exclude.offsets[row + 1])
    return Exclusions(np.array([0, part.stop - part.start]), exclude.items[part])


def all_leaves_are_exact_search(way, dim, items):
    generator = np.random.default_rng(items + dim)
    candidates = clustered(generator, items, dim)
    candidates[items // 2 :: 3] = candidates[0]  # ties, in many leaves or in one that is large
    queries = clustered(generator, 90, dim)
    exclude = random_exclusions(generator, 90, items, items)
    index = replace(LeafIndex.build(candidates), effort=items, compiled=way is not None)
    for k in (1, 30):
        expected = ExactIndex(candidates, compiled=False).search(queries, k, exclude)
        if way is None:
            agree(index.search(queries, k, exclude), expected)
            continue
        with in_way(way):
            agree(replace(index, leaves=replace(index.leaves)).search(queries, k, exclude), expected)


@pytest.mark.parametrize("way", [None, HERE[-1]])
@pytest.mark.parametrize("dim", [3, 65])
@pytest.mark.parametrize("items", [1, 40, 3000])
def test_all_leaves_together_are_exact_search(way, dim, items):
    all_leaves_are_exact_search(way, dim, items)


def twins_agree(way, items):
    generator = np.random.default_rng(items)
    candidates = clustered(generator, items, 20, clusters=5)
    candidates[: items // 3] = candidates[0]
    queries = np.concatenate([clustered(generator, 200, 20), candidates[:3], np.zeros((2, 20), dtype=np.float32)])
    exclude = random_exclusions(generator, 205, items, items - 1)
    for effort in (1, 3):
        index = replace(LeafIndex.build(candidates), effort=effort)
        plain = replace(index, compiled=False).search(queries, 30, exclude)
        with in_way(way):
            packed_anew = replace(index, leaves=replace(index.leaves), compiled=True)
            agree(packed_anew.search(queries, 30, exclude), plain)


@pytest.mark.parametrize("items", [300, 6000])
@pytest.mark.parametrize("width", [256, 1_024])
def test_the_compiled_search_equals_numpys_in_every_bit(items, width, monkeypatch):
    monkeypatch.setattr(_compiled, "_LEAF_WIDTH", width)
    monkeypatch.setattr(leaves, "_ROWS", 50)
    twins_agree(HERE[-1], items)


def test_one_batch_and_many_agree_in_every_bit():
    generator = np.random.default_rng(1)
    candidates = clustered(generator, 2000, 33)
    queries = clustered(generator, 100, 33)
    exclude = random_exclusions(generator, 100, 2000, 60)
    index = LeafIndex.build(candidates)
    whole = index.search(queries, 20, exclude)
    for row in range(100):
        alone = index.search(queries[row : row + 1], 20, rows_of(exclude, row))
        agree(alone, (whole[0][row : row + 1], whole[1][row : row + 1]))


def test_more_effort_finds_no_less():
    generator = np.random.default_rng(2)
    candidates, queries = clustered(generator, 5000, 16), clustered(generator, 60, 16)
    exclude = random_exclusions(generator, 60, 5000, 300)
    index = LeafIndex.build(candidates)
    before = np.full((60, 25), -np.inf, dtype=np.float32)
    for effort in (1, 2, 4, 8, 16, 32):
        _, scores = replace(index, effort=effort).search(queries, 25, exclude)
        assert (scores >= before).all()
        before = scores
    np.testing.assert_array_equal(before, ExactIndex(candidates).search(queries, 25, exclude)[1])


def test_a_query_whose_leaves_hold_too_few_is_answered_by_exact_search():
    generator = np.random.default_rng(3)
    candidates, queries = clustered(generator, 2500, 8), clustered(generator, 20, 8)
    index = replace(LeafIndex.build(candidates), effort=1)
    exclude = random_exclusions(generator, 20, 2500, 30)
    agree(index.search(queries, 600, exclude), ExactIndex(candidates).search(queries, 600, exclude))


def test_what_is_excluded_is_never_found_and_lists_are_full():
    generator = np.random.default_rng(4)
    candidates, queries = clustered(generator, 4000, 16), clustered(generator, 200, 16)
    exclude = random_exclusions(generator, 200, 4000, 3950)
    settings = Settings(engine="leaves", target_recall=0.97)
    built = build_certified(candidates, settings, queries=queries, exclude=exclude, k=100)
    assert built.index.engine == "leaves"
    assert 0.97 <= built.certificate.recall < 1, built.decisions
    found, scores = built.index.search(queries, 100, exclude)
    left = 4000 - np.diff(exclude.offsets)
    assert ((found != NO_ITEM).sum(axis=1) == np.minimum(left, 100)).all()
    assert (np.isfinite(scores) == (found != NO_ITEM)).all()
    for row in range(200):
        mine = found[row][found[row] != NO_ITEM]
        assert len(np.unique(mine)) == len(mine)
        assert not np.isin(mine, rows_of(exclude, row).items).any()


def test_leaves_hold_every_candidate_once_and_nothing_else():
    candidates = clustered(np.random.default_rng(5), 3000, 12)
    index = LeafIndex.build(candidates)
    of = index.leaves
    assert len(of.firsts) == 55
    assert (of.firsts % 32 == 0).all()
    there = of.names != NO_ITEM
    assert np.array_equal(np.sort(of.names[there]), np.arange(3000))
    np.testing.assert_array_equal(of.candidates[of.place_of], candidates)
    np.testing.assert_array_equal(of.names[of.place_of], np.arange(3000))
    assert not of.candidates[~there].any()
    for leaf, (first, last) in enumerate(zip(of.firsts, of.lasts, strict=True)):
        names = of.names[first:last]
        assert (of.leaf_of[names] == leaf).all()
        assert (np.diff(names) > 0).all()
    distances = ((candidates[:, None] - index.centroids.candidates) ** 2).sum(axis=2)
    own = distances[np.arange(3000), of.leaf_of]
    np.testing.assert_allclose(own, distances.min(axis=1), rtol=1e-4)
    again = LeafIndex.build(candidates)
    np.testing.assert_array_equal(again.leaves.names, of.names)
    np.testing.assert_array_equal(again.centroids.candidates, index.centroids.candidates)


def test_auto_measures_leaves_first_and_nothing_where_exact_search_is_quick_enough():
    generator = np.random.default_rng(6)
    candidates, queries = clustered(generator, 21_000, 16), clustered(generator, 120, 16)
    nothing = Exclusions.none(120)
    how = {"queries": queries, "exclude": nothing, "k": 20, "users": 10**9}
    slow = build_certified(candidates, Settings(exact_seconds=0, calibration_seconds=1e-9), **how)
    assert [trial.engine for trial in slow.calibration.trials] == ["exact"], "no time for more"
    some = build_certified(candidates, Settings(exact_seconds=0, calibration_seconds=0.5), **how)
    assert [trial.engine for trial in some.calibration.trials][:2] == ["exact", "leaves"]
    quick = build_certified(candidates, Settings(exact_seconds=1e9), **how)
    assert not quick.calibration.trials
