"""Law 1 at the level of lists, on worlds with heavy, light and cold users."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from recbatch import _compiling, config, schemas, score
from recbatch.contracts import NO_ITEM, EventFactors, Events
from recbatch.errors import ConfigError, DataError
from recbatch.index import ExactIndex
from recbatch.score import Catalogue, Ranker, _largest, _looked_at, because, by_popularity
from recbatch.score._looked_at import Kind
from recbatch.score.because import Evidence

from ._worlds import RUN_DATE, SumTowers, build, random_world

UNIT = _compiling.vector_unit()
KINDS = [Kind.FLOATS, *[Kind.BYTES] * UNIT.has_bytes, *[Kind.TILES] * UNIT.has_tiles]
"""A machine that does not multiply bytes never looks at them."""


def ranker_of(data, towers, segments=(), keep_seen=False):
    popular = by_popularity(data, data.events, RUN_DATE, config.Popular(segments=segments))
    catalogue = Catalogue.of(towers, data)
    return Ranker(popular, towers, catalogue, ExactIndex(catalogue.embeddings), keep_seen)


def everyone(data):
    return np.arange(data.num_users, dtype=np.int32)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("length", [1, 10, 40, 60])
def test_everybody_gets_exactly_the_rows_that_are_left_unseen_and_unique(seed, length):
    data, towers = random_world(seed)
    lists = ranker_of(data, towers).rank(data.events, everyone(data), length)
    for row in range(data.num_users):
        seen = set(data.events.items[data.events.offsets[row] : data.events.offsets[row + 1]].tolist())
        mine = [item for item in lists.positions[row].tolist() if item != NO_ITEM]
        assert len(mine) == min(length, data.num_items - len(seen))
        assert lists.lengths(length)[row] == len(mine)
        assert len(set(mine)) == len(mine)
        assert not seen & set(mine)
        assert np.isfinite(lists.scores[row, : len(mine)]).all()
        sources = lists.sources[row, : len(mine)].tolist()
        assert sources == sorted(sources)
        for source in set(sources):
            scores = [s for s, of in zip(lists.scores[row].tolist(), sources, strict=False) if of == source]
            assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("seed", range(3))
def test_one_user_alone_gets_the_same_list_as_among_all(seed):
    data, towers = random_world(seed)
    ranker = ranker_of(data, towers, segments=("group",))
    together = ranker.rank(data.events, everyone(data), 15)
    for user in everyone(data):
        alone = ranker.rank(data.events, np.array([user], dtype=np.int32), 15)
        for field in ("positions", "scores", "sources", "because"):
            np.testing.assert_array_equal(getattr(alone, field)[0], getattr(together, field)[user])


def test_a_user_without_history_gets_the_segment_or_what_is_popular():
    data, towers = random_world(1)
    ranker = ranker_of(data, towers, segments=("group",))
    lists = ranker.rank(data.events, everyone(data), 10)
    cold = np.flatnonzero(data.events.counts == 0)
    assert len(cold) == 5
    for user in cold:
        group = data.users["group"][int(user)].as_py()
        segment = 0 if group is None else ranker.popular.segments.index(f"group={group}")
        np.testing.assert_array_equal(lists.positions[user], ranker.popular.order[segment, :10])
        assert schemas.SOURCES[lists.sources[user, 0]] == ("popular" if group is None else "segment")
        assert (lists.because[user] == NO_ITEM).all()


def test_kept_seen_titles_may_come_back():
    data = build([("a", "1", 1), ("a", "2", 2), ("b", "3", 1)], {"1": "x", "2": "y", "3": "z"})
    towers = SumTowers(data.item_ids, np.eye(3, dtype=np.float32))
    kept = ranker_of(data, towers, keep_seen=True).rank(data.events, everyone(data), 3)
    assert kept.positions[0].tolist() == [0, 1, 2]
    unseen = ranker_of(data, towers).rank(data.events, everyone(data), 3)
    assert unseen.positions[0].tolist() == [2, NO_ITEM, NO_ITEM]


def test_because_is_the_title_with_the_largest_share():
    data = build([("a", "1", 1), ("a", "2", 2)], {"1": "x", "2": "y", "3": "near x", "4": "near y"})
    towers = SumTowers(data.item_ids, np.array([[1, 0], [0, 1], [0.9, 0.1], [0.1, 0.8]], dtype=np.float32))
    lists = ranker_of(data, towers).rank(data.events, everyone(data), 2)
    assert data.titles.take(pa.array(lists.positions[0])).to_pylist() == ["near x", "near y"]
    assert data.titles.take(pa.array(lists.because[0])).to_pylist() == ["x", "y"]


def test_popularity_descends_breaks_ties_by_item_and_segments_lean_on_the_whole():
    listed = pa.table({"user_id": ["a", "b", "c"], "group": ["x", "y", "x"]})
    events = [("a", "2", 1), ("b", "3", 1), ("b", "3", 2), ("c", "2", 1), ("b", "2", 3)]
    data = build(events, {"3": "z", "2": "y", "1": "x", "4": "w"}, users=listed)
    popular = by_popularity(data, data.events, RUN_DATE, config.Popular(segments=("group",), prior_events=1.0))
    assert popular.segments == ("all", "group=x", "group=y")
    assert (np.diff(popular.scores, axis=1) <= 0).all()
    assert data.item_ids.take(pa.array(popular.order[0])).to_pylist() == ["2", "3", "1", "4"]
    assert data.item_ids.take(pa.array(popular.order[2])).to_pylist() == ["3", "2", "1", "4"]
    np.testing.assert_allclose(popular.scores.sum(axis=1), 1, rtol=1e-5)
    assert popular.segment_of_user.tolist() == [1, 2, 1]


def test_a_segment_that_no_user_feature_backs_is_an_error_that_names_the_features():
    data, _ = random_world(0)
    with pytest.raises(ConfigError, match=r"popular.segments: no user feature 'age'.* has: group"):
        by_popularity(data, data.events, RUN_DATE, config.Popular(segments=("age",)))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda candidates: candidates * np.nan, "not finite"),
        (lambda candidates: candidates * 0 + 1, "collapsed"),
    ],
)
def test_broken_embeddings_stop_before_the_index(spoil, message):
    data, towers = random_world(0)
    with pytest.raises(DataError, match=message):
        Catalogue.of(SumTowers(towers.item_ids, spoil(towers.candidates)), data)


def test_a_model_of_other_ids_is_an_error():
    data, towers = random_world(0)
    foreign = SumTowers(pa.array([f"x{n}" for n in range(len(towers.item_ids))]), towers.candidates)
    with pytest.raises(DataError, match="knows none of tonight's items"):
        Catalogue.of(foreign, data)


def test_rows_name_users_items_and_reasons():
    data, towers = random_world(2)
    lists = ranker_of(data, towers).rank(data.events, everyone(data), 12)
    first, rest = score.to_table(lists, data, last_rank=10), score.to_table(lists, data, first_rank=11)
    assert first.cast(schemas.arrow(schemas.RECOMMENDATIONS)).num_rows == first.num_rows
    assert first.num_rows + rest.num_rows == int((lists.positions != NO_ITEM).sum())
    assert set(rest["rank"].to_pylist()) <= {11, 12}
    plain = first.cast(schemas.arrow(schemas.RECOMMENDATIONS))
    assert plain.sort_by([("user_id", "ascending"), ("rank", "ascending")]).equals(plain)
    titles = dict(zip(data.item_ids.to_pylist(), data.titles.to_pylist(), strict=True))
    for row in first.to_pylist():
        assert row["title"] == titles[row["item_id"]]
        assert (row["because_item_id"] is None) == (row["source"] != "model")


@pytest.mark.parametrize("length", [0, 1, 3, 50])
def test_histories_are_the_latest_distinct_titles_however_often_they_were_repeated(length):
    random_ = np.random.default_rng(length)
    # Some users did one title a hundred times in a row before and after the others.
    events = [(f"u{n % 20:02}", str(random_.integers(9)), float(random_.integers(1, 90))) for n in range(300)]
    events += [(f"u{n % 4:02}", "9", 0.5) for n in range(400)]
    data = build(events, {str(n): f"t{n}" for n in range(12)})
    table = score.history_table(data, slice(3, 15), length).to_pylist()
    wanted = []
    for user in range(3, 15):
        own = data.events.of_users(slice(user, user + 1)).items[::-1].tolist()
        distinct = list(dict.fromkeys(own))[:length]
        wanted += [(f"u{user:02}", place + 1, data.item_ids[item].as_py()) for place, item in enumerate(distinct)]
    assert [(row["user_id"], row["rank"], row["item_id"]) for row in table] == wanted


@pytest.mark.parametrize(
    ("cells", "compiled", "kind"),
    [(1, False, None), (500, False, None), (2_000_000, False, None), *[(500, True, kind) for kind in KINDS]],
)
def test_the_reason_is_the_title_of_the_earliest_event_with_the_largest_share(monkeypatch, cells, compiled, kind):
    monkeypatch.setattr(because, "_BLOCK_CELLS", cells)
    monkeypatch.setattr(_compiling, "is_due", lambda operations: compiled)
    random_ = np.random.default_rng(3)
    # Few different vectors, some of them a rounding error apart: most shares have rivals.
    towers = SumTowers(pa.array([str(n) for n in range(40)]), random_.normal(size=(40, 17)).astype(np.float32))
    towers.candidates[20:] = towers.candidates[:20] * np.float32(1 + 2**-23)
    counts = random_.integers(1, 30, size=50)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    items = random_.integers(40, size=offsets[-1]).astype(np.int32)
    events = Events(offsets, items, *(np.ones(len(items), kind) for kind in (np.int64, np.float32, np.float32)))
    found = random_.integers(-1, 40, size=(50, 70)).astype(np.int32)
    names = np.arange(40, dtype=np.int32)[::-1].copy()
    given = Evidence(towers.candidates, kind).reasons(events, towers.event_factors(events), found, names)
    for user in range(50):
        own = towers.candidates[items[offsets[user] : offsets[user + 1]]].astype(np.float64)
        shares = np.einsum("ed,kd->ek", own, towers.candidates[found[user]].astype(np.float64))
        wanted = np.where(found[user] == NO_ITEM, NO_ITEM, names[items[offsets[user] + shares.argmax(axis=0)]])
        assert given[user].tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("widths", "k"), [((5, 9), 1), ((96, 32), 120), ((3,), 33), ((16, 16, 7), 200)])
def test_reasons_in_parts_of_any_width_weight_and_size_are_those_of_float64(kind, widths, k):
    random_, dim = np.random.default_rng(k), sum(widths)
    scales = np.exp2(random_.integers(-20, 20, size=(300, 1)))  # rows of very different length, and empty ones
    scales[::9] = 0
    vectors = (random_.normal(size=(300, dim)) * scales).astype(np.float32)
    vectors[:, : widths[0]] *= np.float32(100)
    candidates = (random_.normal(size=(300, dim + 1)) * scales[::-1]).astype(np.float32)
    counts = np.array([1, 2, 11, 12, 13, 47, 48, 49, 150])
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    items = random_.integers(300, size=offsets[-1]).astype(np.int32)
    weights = random_.choice([0, 1e-6, 0.3, 1], size=(len(widths), len(items))).astype(np.float32)
    events = Events(offsets, items, *(np.ones(len(items), kind) for kind in (np.int64, np.float32, np.float32)))
    factors = EventFactors(vectors, widths, weights)
    found = random_.integers(-1, 300, size=(len(counts), k)).astype(np.int32)
    tables = _largest.Tables.of(vectors, candidates, widths, kind)
    given = _largest.largest(tables, factors, events, candidates, found)
    scaled = factors.of(items).astype(np.float64)
    for user in range(len(counts)):
        shares = scaled[offsets[user] : offsets[user + 1]] @ candidates[found[user], :dim].T.astype(np.float64)
        wanted = np.where(found[user] < 0, 0, shares.argmax(axis=0))
        assert given[user].tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", [Kind.BYTES, Kind.TILES])
@pytest.mark.parametrize("widths", [(4,), (7, 2), (64, 65)])
def test_what_rounding_to_bytes_keeps_and_takes_is_never_understated(kind, widths):
    random_ = np.random.default_rng(0)
    vectors = (random_.normal(size=(500, sum(widths))) * np.exp2(random_.integers(-30, 30, size=(500, 1)))).astype("f4")
    looks = _looked_at.rows(vectors, widths, kind, middle=kind.middle)
    facts = looks.facts.reshape(500, len(widths), 4).astype(np.float64)
    bytes_ = looks.values.view(np.int8 if kind is Kind.TILES else np.uint8).astype(np.float64) - kind.middle
    column = 0
    for part, width in enumerate(widths):
        first = 4 * int(looks.ends[part] - -(-width // (4 * kind.depth)) * kind.depth)
        own = bytes_[:, first : first + width]
        kept = own * facts[:, part, [_looked_at.STEP]]
        lost = vectors[:, column : column + width] - kept
        assert (bytes_[:, first + width : 4 * int(looks.ends[part])] == 0).all()
        assert (np.linalg.norm(kept, axis=1) <= facts[:, part, _looked_at.KEPT]).all()
        assert (np.linalg.norm(lost, axis=1) <= facts[:, part, _looked_at.LOST]).all()
        assert (facts[:, part, _looked_at.LOST] <= 0.51 * width**0.5 * facts[:, part, _looked_at.STEP]).all()
        assert (facts[:, part, _looked_at.MIDST] == -_looked_at.MIDDLE * own.sum(axis=1)).all()
        column += width


def test_similar_items_are_near_by_angle_and_never_the_item_itself():
    data = build([("a", "1", 1)], {"1": "x", "2": "y", "3": "z"})
    towers = SumTowers(data.item_ids, np.array([[2, 0, 9], [5, 1, 0], [0, 1, 3]], dtype=np.float32))
    catalogue = Catalogue.of(towers, data)
    table = score.similar_items(catalogue, data, ExactIndex(score.unit_vectors(catalogue)), 5)
    assert [(row["item_id"], row["rank"], row["similar_item_id"]) for row in table.to_pylist()] == [
        ("1", 1, "2"), ("1", 2, "3"), ("2", 1, "1"), ("2", 2, "3"), ("3", 1, "2"), ("3", 2, "1"),
    ]  # fmt: skip


def test_users_tell_who_they_were_and_why_they_got_less():
    data = build(
        [("a", "1", 9), ("a", "2", 8), ("b", "1", 1)],
        {"1": "x", "2": "y"},
        users=pa.table({"user_id": ["c"], "age": [7]}),
    )
    boundary = int(np.datetime64(date(2024, 2, 25), "us").astype(np.int64))
    table = score.user_table(
        data, known=np.array([2, 1, 0]), trained_before=boundary, recommended=np.array([0, 1, 2]), k=2
    )
    assert table["status"].to_pylist() == ["hot", "warm", "cold"]
    assert table["shortfall_reason"].to_pylist() == ["catalogue_exhausted", "catalogue_exhausted", None]
    assert table["interactions"].to_pylist() == [2, 1, 0]
    assert table["first_at"].to_pylist()[2] is None
    assert table["age"].to_pylist() == [None, None, 7]


def test_items_count_their_events():
    data = build([("a", "2", 9), ("b", "2", 1)], {"1": "x", "2": "y"})
    table = score.item_table(data, np.array([False, True]))
    assert table["interactions"].to_pylist() == [0, 2]
    assert table["first_at"].to_pylist()[0] is None
    assert (table["last_at"].to_pylist()[1] - table["first_at"].to_pylist()[1]).days == 8
    assert table["in_vocabulary"].to_pylist() == [False, True]


@pytest.mark.parametrize("seed", range(4))
def test_histories_are_the_latest_titles_once_each_latest_first(seed):
    data, _ = random_world(seed)
    events = data.events
    for shard in (slice(0, data.num_users), slice(2, 5)):
        expected = []
        for user in range(*shard.indices(data.num_users)):
            mine = list(range(events.offsets[user], events.offsets[user + 1]))
            latest = list(dict.fromkeys(int(events.items[event]) for event in reversed(mine)))[:3]
            expected += [
                (data.user_ids[user].as_py(), n + 1, data.item_ids[item].as_py()) for n, item in enumerate(latest)
            ]
        table = score.history_table(data, shard, 3).cast(schemas.arrow(schemas.HISTORIES))
        assert [tuple(row.values())[:3] for row in table.to_pylist()] == expected
    assert score.history_table(data, slice(0, 5), 0).num_rows == 0
