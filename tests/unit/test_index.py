"""Laws of exact search: it equals sorting everything, however users are batched."""

import numba
import numpy as np
import pytest

from recbatch import _compiling, _llvm, _threads, _vectors
from recbatch.config import Index as Settings
from recbatch.contracts import NO_ITEM, Exclusions
from recbatch.index import (
    ExactIndex,
    _compiled,
    _loops,
    _passes,
    _rounded,
    build_certified,
    certify,
    exact,
    sample_users,
)
from recbatch.index._finalists import exact_scores
from recbatch.index.certify import recalls
from recbatch.kernels import leaf
from tests.unit.ways import HERE, in_way


def random_exclusions(generator, queries, items, most):
    rows = [
        np.sort(generator.choice(items, size=generator.integers(0, most + 1), replace=False)) for _ in range(queries)
    ]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Exclusions(offsets, np.concatenate([*rows, np.empty(0)]).astype(np.int32))


def by_sorting_everything(queries, candidates, k, exclude):
    """The definition, one user at a time: every score, excluded ones out, sorted by score then position."""
    expected = np.full((len(queries), k), NO_ITEM)
    for row, query in enumerate(queries):
        scores = exact_scores(query[None], candidates, np.zeros(len(candidates), np.int64), np.arange(len(candidates)))
        allowed = np.setdiff1d(
            np.arange(len(candidates)), exclude.items[exclude.offsets[row] : exclude.offsets[row + 1]]
        )
        best = allowed[np.lexsort((allowed, -scores[allowed]))][:k]
        expected[row, : len(best)] = best
    return expected


@pytest.mark.parametrize("items", [1, 5, 16, 17, 333, 2000])
@pytest.mark.parametrize("k", [1, 7, 100])
def test_exact_search_equals_sorting_everything(items, k):
    generator = np.random.default_rng(items * 1000 + k)
    candidates = generator.normal(size=(items, 9)).astype(np.float32)
    queries = generator.normal(size=(40, 9)).astype(np.float32)
    exclude = random_exclusions(generator, 40, items, min(items, 50))
    found, scores = ExactIndex(candidates).search(queries, k, exclude)
    np.testing.assert_array_equal(found, by_sorting_everything(queries, candidates, k, exclude))
    assert (np.isneginf(scores) == (found == NO_ITEM)).all()
    assert (scores[:, :-1] >= scores[:, 1:]).all()


UNIT = _compiling.vector_unit()


def twins_agree(queries, candidates, k, exclude, ways=HERE):
    plain = ExactIndex(candidates, compiled=False).search(queries, k, exclude)
    for way in ways:
        with in_way(way):
            index = ExactIndex(candidates, compiled=True, in_bytes=way != "floats")
            compiled = index.search(queries, k, exclude)
        assert isinstance(index._packed[0], _rounded.RoundedCandidates) == (way != "floats")
        assert getattr(index._packed[0], "in_tiles", False) == (way == "tiles")
        np.testing.assert_array_equal(compiled[0], plain[0])
        np.testing.assert_array_equal(compiled[1].view(np.int32), plain[1].view(np.int32))


@pytest.mark.parametrize("items", [1, 63, 65, 700, 5000])
@pytest.mark.parametrize("k", [1, 100])
@pytest.mark.parametrize("dim", [3, 16, 65, 128])
@pytest.mark.parametrize("width", [128, 4_608])
def test_the_compiled_search_equals_numpys_in_every_bit(items, k, dim, width, monkeypatch):
    monkeypatch.setattr(_compiled, "_BLOCK_CELLS", width * dim)
    monkeypatch.setattr(exact, "_COMPILED_ROWS", 16)
    generator = np.random.default_rng(items + k + dim)
    candidates = generator.normal(size=(items, dim)).astype(np.float32)
    queries = generator.normal(size=(60, dim)).astype(np.float32)
    twins_agree(queries, candidates, k, random_exclusions(generator, 60, items, items))


@pytest.mark.parametrize("fused", [True, False])
def test_products_are_sums_of_products_with_shorter_vectors_too(fused, monkeypatch):
    for name, value in {"LENGTH": 8, "COLUMNS": 16, "ROWS": 6, "FUSED": fused}.items():
        monkeypatch.setattr(_llvm, name, value)
    generator = np.random.default_rng(0)
    queries = generator.normal(size=(2, 5, 6)).astype(np.float32)
    panels = generator.normal(size=(3, 5, 16)).astype(np.float32)
    scores = np.full((6, 40), 9, dtype=np.float32)
    products = _vectors.products
    numba.njit(lambda q, p, s: products(q, 1, 0, p, 2, s, 0, 20))(queries, panels, scores)
    np.testing.assert_allclose(scores[:, 20:36], queries[1].T @ panels[2], rtol=1e-4, atol=1e-5)
    assert (scores[:, :20] == 9).all() and (scores[:, 36:] == 9).all()


@pytest.mark.parametrize("length", sorted({8, _llvm.LENGTH}))
def test_rows_are_turned_into_columns(length, monkeypatch):
    monkeypatch.setattr(_llvm, "LENGTH", length)
    source = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
    rows = np.random.default_rng(1).integers(0, 30, size=(1, length)).astype(np.int32)
    target = np.full((2, 40, 50), 9, dtype=np.float32)
    turn = _vectors.turn
    numba.njit(lambda s, r, t: turn(s, r, 20, t, 1, 30))(source, rows, target)
    expected = np.full((2, 40, 50), 9, dtype=np.float32)
    expected[1, 20 : 20 + length, 30 : 30 + length] = source[rows[0], 20 : 20 + length].T
    np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize("measures", [_loops.SCORES, _loops.SUMS], ids=["floats", "bytes"])
def test_what_reaches_a_floor_is_kept_in_order_one_by_one_or_moved_together(measures):
    random_, floor = np.random.default_rng(2), measures.nothing.dtype.type(9)
    scores = random_.integers(0, 12, size=(3, 256)).astype(floor.dtype)
    facts = np.int32([7, -5]), np.float32([2, 0.5]), np.float32([0.25, 3])
    wanted = np.flatnonzero(scores[2, 128:192] >= 9) + 128
    expected = [measures.score(*facts, 1, scores[2, column]) for column in wanted]
    one_by_one = _loops.append(_vectors.at_least, _vectors.first_bit, leaf(measures.score))
    for append in filter(None, (leaf(one_by_one), _vectors.append)):
        values, items = np.zeros((2, 200), dtype=np.float32), np.zeros((2, 200), dtype=np.int32)
        run = numba.njit(lambda s, v, i, a=append: a(s, 2, 128, floor, *facts, 1, v, i, 30, 1000))
        assert run(scores, values, items) == 30 + len(wanted)
        np.testing.assert_array_equal(values[1, 30 : 30 + len(wanted)], expected)
        np.testing.assert_array_equal(items[1, 30 : 30 + len(wanted)], wanted + 1000)
        assert not values[:, :30].any() and not values[0].any() and not items[:, :30].any()


@pytest.mark.parametrize("k", [5, 100, 900])
def test_the_twins_agree_where_nothing_tells_scores_apart(k):
    generator = np.random.default_rng(0)
    candidates = generator.normal(size=(3000, 20)).astype(np.float32)
    candidates[200:2500] = candidates[0]
    queries = np.concatenate([generator.normal(size=(30, 20)), candidates[:3], np.zeros((2, 20))]).astype(np.float32)
    twins_agree(queries, candidates, k, random_exclusions(generator, 35, 3000, 2999))


def test_no_sum_whose_score_reaches_a_floor_is_less_than_the_least_sum():
    random_ = np.random.default_rng(5)
    for _ in range(300):
        starts = random_.integers(-(2**23), 2**23, size=1).astype(np.int32)
        steps = np.exp2(random_.uniform(-40, 20, size=1)).astype(np.float32)
        bases = (random_.normal(size=1) * steps * 2.0 ** random_.integers(0, 20)).astype(np.float32)
        total = np.int32(random_.integers(-(2**22), 2**22))
        where = (starts, steps, bases, 0)
        # in arithmetic without rounding, which the bound of a query allows for on either side
        floor = np.float32(float(bases[0]) + float(steps[0]) * (int(starts[0]) + int(total)))
        exact = np.floor((float(floor) - float(bases[0])) / float(steps[0])) - int(starts[0])
        least = int(_loops.SUMS.least(*where, floor))
        assert least < exact <= least + 1
        spread = abs(float(bases[0])) + float(steps[0]) * abs(int(starts[0]) + int(total))
        assert abs(float(_loops.SUMS.score(*where, total)) - float(floor)) <= 2.0**-21 * spread
    for floor, wanted in ((np.finfo(np.float32).min, -(2**31) + 1), (np.finfo(np.float32).max, 2**31 - 1)):
        tiny = np.float32([1e-30])
        assert _loops.SUMS.least(np.int32([0]), tiny, np.float32([0]), 0, np.float32(floor)) == wanted
    with np.errstate(invalid="ignore"):
        assert _loops.SUMS.least(np.int32([0]), np.float32([0]), np.float32([1]), 0, np.float32(1)) < -(2**30)


def test_tiles_are_left_alone_where_the_system_does_not_give_them(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(_compiling.platform, "machine", lambda: "aarch64")
        assert not _compiling._may_use_tiles()
    with monkeypatch.context() as patch:
        patch.setattr(_compiling, "_ARCH_PRCTL", 100_000)  # a call that no Linux knows, and refuses
        assert not _compiling._may_use_tiles()
    assert _compiling._may_use_tiles() or not UNIT.has_tiles


@pytest.mark.parametrize("dim", [1, 4, 63, 64, 65, 193])
def test_tiles_hold_the_same_bytes_register_by_register(dim):
    generator = np.random.default_rng(dim)
    queries, candidates = (generator.normal(size=(count, dim)).astype(np.float32) for count in (50, 70))
    plain, tiled = (_rounded.candidates(candidates, 32, in_tiles=in_tiles) for in_tiles in (False, True))
    ours, theirs = _rounded.queries(queries, tiled), _rounded.queries(queries, plain)
    words = plain.panels.shape[1]
    assert plain.panels.shape == tiled.panels.shape
    halves = tiled.panels.reshape(len(tiled.panels), 2, words, 16)
    np.testing.assert_array_equal(np.concatenate([halves[:, 0], halves[:, 1]], axis=2), plain.panels)
    np.testing.assert_array_equal(ours.words[:, :words], theirs.words)
    assert ours.words.shape == (50, -(-words // 16) * 16)
    assert not ours.words[:, words:].any()
    registers = np.zeros((4, ours.words.shape[1], 16), dtype=np.int32)
    for row in range(50):
        _passes.put_rows(ours.words, row, registers, row // 16, row % 16)
    by_query = registers.reshape(4, -1, 16, 16).transpose(0, 2, 1, 3).reshape(64, -1)
    np.testing.assert_array_equal(by_query[:50], ours.words)
    assert not by_query[50:].any()
    for name in ("starts", "steps", "bases", "bound"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    shapes = _compiling.tile_shapes(words)
    assert (shapes[26], shapes[54], shapes[55]) == (4 * ((words - 1) % 16 + 1), *[(words - 1) % 16 + 1] * 2)
    assert tiled.panels.ctypes.data % 64 == 0, "a row across two lines costs two loads"


@pytest.mark.parametrize("shift", [0.0, 30.0, 1e-30, 1e15])
@pytest.mark.parametrize("dim", [1, 5, 64, 193])
def test_a_rounded_score_lies_within_its_bound(dim, shift):
    generator = np.random.default_rng(dim)
    queries, candidates = (generator.normal(size=(count, dim)).astype(np.float32) for count in (50, 400))
    queries[0], queries[1, 1:], candidates[7] = 0, 0, candidates[8]
    queries[2] *= np.float32(1e-25)
    candidates *= generator.exponential(size=(400, 1)).astype(np.float32)
    candidates = candidates + np.float32(shift) if shift >= 1 or not shift else candidates * np.float32(shift)
    packed = _rounded.candidates(candidates, 32)
    rounded = _rounded.queries(queries, packed)
    flat = packed.panels[:, :, :, None].view(np.uint8).transpose(0, 2, 1, 3).reshape(-1, packed.panels.shape[1] * 4)
    sums = rounded.words.view(np.int8).astype(np.int64) @ flat[:400].astype(np.int64).T + rounded.starts[:, None]
    scores = rounded.bases[:, None] + rounded.steps[:, None] * sums.astype(np.float32)
    true = queries.astype(np.float64) @ candidates.astype(np.float64).T
    assert (np.abs(scores - true) <= rounded.bound[:, None]).all()
    if shift in (0.0, 1e-30):
        assert (rounded.bound <= 0.1 * np.abs(true).max()).all()


def test_bytes_that_tell_nothing_apart_are_given_up():
    generator = np.random.default_rng(0)
    queries = generator.normal(size=(60, 16)).astype(np.float32)
    candidates = (generator.normal(size=(5000, 16)) * 1e-4).astype(np.float32)
    candidates[0] = 100
    nothing = Exclusions.none(60)
    coarse, fine = ExactIndex(candidates, compiled=True), ExactIndex(candidates, compiled=False)
    for _ in range(2):
        for found, expected in zip(coarse.search(queries, 50, nothing), fine.search(queries, 50, nothing), strict=True):
            np.testing.assert_array_equal(found, expected)
    assert [isinstance(packed, _rounded.RoundedCandidates) for packed in coarse._packed] == (
        [True, False] if UNIT.has_bytes else [False]
    )


def test_scores_have_the_same_bits_compiled_and_not():
    generator = np.random.default_rng(0)
    for dim in (1, 7, 16, 33, 193):
        queries, candidates = (generator.normal(size=(50, dim)).astype(np.float32) for _ in range(2))
        rows, columns = np.arange(50), np.arange(50, dtype=np.int32)[::-1].copy()
        np.testing.assert_array_equal(
            _compiled.scores_of(queries, candidates, rows, columns), exact_scores(queries, candidates, rows, columns)
        )


def test_a_search_leaves_the_threads_of_the_matrix_product_as_they_were():
    def threads():
        return [library["num_threads"] for library in _threads._controller().info() if library["user_api"] == "blas"]

    before = threads()
    during: list[list[int]] = []
    _threads.run([lambda: during.append(threads())] * 2)
    assert threads() == before
    assert _threads.workers() == 1 or all(set(counts) == {1} for counts in during)


def test_nobody_finds_nothing():
    candidates, nobody = np.eye(5, dtype=np.float32), np.zeros((0, 5), dtype=np.float32)
    nothing = Exclusions.none(0)
    for compiled in (True, False):
        found, scores = ExactIndex(candidates, compiled=compiled).search(nobody, 3, nothing)
        assert found.shape == scores.shape == (0, 3)


def test_ties_are_broken_by_position():
    generator = np.random.default_rng(0)
    candidates = np.repeat(generator.normal(size=(20, 6)), 30, axis=0).astype(np.float32)
    queries = generator.normal(size=(8, 6)).astype(np.float32)
    nothing = Exclusions.none(8)
    found, _ = ExactIndex(candidates).search(queries, 50, nothing)
    np.testing.assert_array_equal(found, by_sorting_everything(queries, candidates, 50, nothing))
    assert (np.diff(found[:, :30], axis=1) == 1).all()


def test_one_batch_and_many_agree_in_every_bit():
    generator = np.random.default_rng(1)
    candidates = generator.normal(size=(700, 33)).astype(np.float32)
    queries = generator.normal(size=(257, 33)).astype(np.float32)
    exclude = random_exclusions(generator, 257, 700, 20)
    index = ExactIndex(candidates)
    whole = index.search(queries, 20, exclude)
    for row in range(257):
        part = slice(exclude.offsets[row], exclude.offsets[row + 1])
        own = Exclusions(np.array([0, part.stop - part.start]), exclude.items[part])
        alone = index.search(queries[row : row + 1], 20, own)
        np.testing.assert_array_equal(alone[0][0], whole[0][row])
        np.testing.assert_array_equal(alone[1][0], whole[1][row])


def test_a_user_who_has_seen_everything_gets_padding_only():
    candidates = np.eye(4, dtype=np.float32)
    everything = Exclusions(np.array([0, 4]), np.arange(4, dtype=np.int32))
    found, scores = ExactIndex(candidates).search(np.ones((1, 4), dtype=np.float32), 3, everything)
    assert found.tolist() == [[NO_ITEM] * 3]
    assert np.isneginf(scores).all()


def test_the_certificate_sees_what_is_missing():
    class Forgetful(ExactIndex):
        """Loses the best candidate of every user."""

        def search(self, queries, k, exclude):
            positions, scores = ExactIndex(self.candidates).search(queries, k + 1, exclude)
            return positions[:, 1:], scores[:, 1:]

    generator = np.random.default_rng(2)
    candidates = generator.normal(size=(100, 4)).astype(np.float32)
    queries = generator.normal(size=(30, 4)).astype(np.float32)
    nothing = Exclusions.none(30)
    twin = ExactIndex(candidates)
    sound = certify(twin, twin, queries, nothing, k=10, target=0.99)
    assert (sound.recall, sound.score_loss, sound.passed) == (1.0, 0.0, True)
    poor = certify(Forgetful(candidates), twin, queries, nothing, k=10, target=0.99)
    assert poor.recall == pytest.approx(9 / 10)
    assert 0 < poor.score_loss <= poor.worst_score_loss
    assert poor.ci_low <= poor.recall <= poor.ci_high
    assert not poor.passed


def test_auto_takes_exact_search_where_it_takes_seconds_and_measures_nothing():
    generator = np.random.default_rng(4)
    candidates = generator.normal(size=(300, 8)).astype(np.float32)
    nothing = Exclusions.none(20)
    built = build_certified(candidates, Settings(), queries=candidates[:20], exclude=nothing, k=5, users=1_000_000)
    assert (built.index.engine, built.calibration.engine, built.calibration.timed) == ("exact", "exact", False)
    assert built.certificate.recall == 1.0


def test_the_certificate_has_interval_and_worst_percentiles_and_counts_each_user_once():
    found = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [7, NO_ITEM, NO_ITEM, NO_ITEM], [NO_ITEM] * 4], dtype=np.int32)
    truth = np.array([[0, 1, 2, 3], [0, 1, 2, 9], [7, 8, NO_ITEM, NO_ITEM], [NO_ITEM] * 4], dtype=np.int32)
    assert recalls(found, truth, 10).tolist() == [1, 3 / 4, 1 / 2, 1]


def test_the_certified_sample_holds_the_heaviest_user_and_no_empty_one():
    lengths = np.random.default_rng(3).geometric(0.1, size=5000) - 1
    lengths[4321] = 10_000
    sample = sample_users(lengths, 500, seed=0)
    assert 4321 in sample
    assert (lengths[sample] > 0).all()
    assert len(np.unique(sample)) == len(sample)
    assert 490 <= len(sample) <= 501
