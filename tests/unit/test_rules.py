"""Every rule of `[rules]`: lists equal those of a naive twin, files and expressions are checked row by row."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs._rules import RuleBook
from jobs._why import _Night
from recbatch import config, rules, schemas, score
from recbatch.contracts import NO_ITEM, Exclusions
from recbatch.errors import ConfigError, DataError
from recbatch.index import ExactIndex
from recbatch.rules import Caps, Pins, Rules
from recbatch.score import Catalogue, Ranker, by_popularity
from tests.generative._examples import examples

from ._worlds import RUN_DATE, random_world

WORLDS = {seed: random_world(seed, users=10, items=30, most_events=24) for seed in range(3)}
SINCE = int(np.datetime64(RUN_DATE, "us").astype(np.int64)) - 30 * 86_400_000_000


def ranker_of(data, towers, obeyed, keep_seen=False):
    popular = by_popularity(data, data.events, RUN_DATE, config.Popular(segments=("group",)))
    catalogue = Catalogue.of(towers, data, rules=obeyed)
    allowed = score.only(popular, obeyed.eligible)
    return Ranker(allowed, towers, catalogue, ExactIndex(catalogue.embeddings), keep_seen, rules=obeyed)


def naive(data, ranker, user, length):
    """The greedy choice along pins, the model's whole ranking and popularity, one title at a time."""
    obeyed, events = ranker.rules, data.events
    mine = slice(events.offsets[user], events.offsets[user + 1])
    seen = {
        int(item)
        for item, at in zip(events.items[mine], events.occurred_at[mine], strict=True)
        if not ranker.keep_seen and (obeyed.seen_since is None or at >= obeyed.seen_since)
    }
    denied = set()
    if obeyed.denied is not None:
        denied = set(obeyed.denied.items[obeyed.denied.offsets[user] : obeyed.denied.offsets[user + 1]].tolist())
    chosen, held = [], {}

    def offer(item, source):
        values = [] if obeyed.caps is None else [v for v in obeyed.caps.values[item] if v < len(obeyed.caps.names)]
        fits = all(held.get(value, 0) < obeyed.caps.limits[value] for value in values)
        barred = item in seen | denied or (obeyed.eligible is not None and not obeyed.eligible[item])
        if not fits or barred or item in [other for other, _ in chosen] or len(chosen) == length:
            return
        chosen.append((int(item), source))
        for value in values:
            held[value] = held.get(value, 0) + 1

    if obeyed.pins is not None:
        for item, segment in zip(obeyed.pins.items, obeyed.pins.segment, strict=True):
            if obeyed.pins.members[segment, user]:
                offer(item, "pinned")
    one = np.array([user], dtype=np.int32)
    known = ranker.catalogue.histories(events.of_users(one))
    if known.counts[0]:
        everything = Exclusions.none(1)
        found, _ = ranker.index.search(ranker.towers.embed(known), ranker.index.num_items, everything)
        for candidate in found[0]:
            offer(ranker.catalogue.positions[candidate], "model")
    began = any(source == "model" for _, source in chosen)
    segment = 0 if began else ranker.popular.segment_of_user[user]
    for item in ranker.popular.order[segment]:
        offer(item, "segment" if segment else "popular")
    return chosen


@st.composite
def nights(draw):
    """A world, the rules of a night, and a length."""
    seed = draw(st.sampled_from(sorted(WORLDS)))
    data, _ = WORLDS[seed]
    items = st.integers(0, data.num_items - 1)
    eligible = denied = caps = pins = None
    if draw(st.booleans()):
        eligible = np.zeros(data.num_items, dtype=np.bool_)
        eligible[draw(st.lists(items, min_size=1, max_size=data.num_items))] = True
        eligible[[0, 1]] = True
    if draw(st.booleans()):
        pairs = draw(st.sets(st.tuples(st.integers(0, data.num_users - 1), items), max_size=60))
        user, item = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2).T
        denied = Exclusions(np.searchsorted(user, np.arange(data.num_users + 1)), item.astype(np.int32))
    if draw(st.booleans()):
        kinds = draw(st.lists(st.lists(st.sampled_from("abcd"), max_size=3), min_size=40, max_size=40))
        table = pa.table({"genres": pa.array(kinds[: data.num_items], pa.list_(pa.string()))})
        caps = Caps.of({"genres": draw(st.integers(1, 8))}, table)
    if draw(st.booleans()):
        rows = draw(st.lists(st.tuples(items, st.integers(0, 2)), min_size=1, max_size=8))
        members = np.arange(data.num_users) % np.array([[1], [2], [3]]) == 0
        pins = Pins(*(np.array(column, dtype=np.int32) for column in zip(*rows, strict=True)), members)
    since = draw(st.sampled_from([None, SINCE]))
    obeyed = Rules(seen_since=since, eligible=eligible, denied=denied, caps=caps, pins=pins)
    return seed, obeyed, draw(st.sampled_from([1, 5, 12, 40])), draw(st.booleans())


@examples(150)
@given(nights())
def test_lists_are_the_greedy_choice_along_the_whole_ranking(night):
    seed, obeyed, length, keep_seen = night
    data, towers = WORLDS[seed]
    ranker = ranker_of(data, towers, obeyed, keep_seen)
    lists = ranker.rank(data.events, np.arange(data.num_users, dtype=np.int32), length)
    lengths = lists.lengths(length)
    for user in range(data.num_users):
        got = [
            (int(item), schemas.SOURCES[source])
            for item, source in zip(lists.positions[user], lists.sources[user], strict=True)
            if item != NO_ITEM
        ]
        assert got == naive(data, ranker, user, length)
        assert (lists.positions[user, lengths[user] :] == NO_ITEM).all()
    reasons = score.shortfall_reasons(ranker, data, lengths, length).to_pylist()
    assert [reason is None for reason in reasons] == (lengths == length).tolist()


def test_a_boost_multiplies_the_odds_and_nothing_else():
    data, towers = WORLDS[0]
    bias = np.zeros(data.num_items, dtype=np.float32)
    bias[7] = np.log(3)
    plain, boosted = Catalogue.of(towers, data), Catalogue.of(towers, data, rules=Rules(bias=bias))
    odds = np.exp(boosted.embeddings - plain.embeddings)
    expected = np.ones_like(odds)
    expected[plain.candidate_of_item[7], -1] = 3
    np.testing.assert_allclose(odds, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("obeyed", "k", "reason"),
    [
        (Rules(), 30, "catalogue_exhausted"),
        (Rules(denied=Exclusions(np.arange(31) * 25, np.tile(np.arange(25, dtype=np.int32), 30))), 6, "titles_denied"),
        (Rules(eligible=np.arange(30) < 5), 6, "few_eligible_titles"),
        (Rules(caps=Caps.of({"kind": 2}, pa.table({"kind": ["x"] * 30}))), 6, "capped"),
    ],
)
def test_whoever_gets_less_is_told_why(obeyed, k, reason):
    data, towers = WORLDS[1]
    ranker = ranker_of(data, towers, obeyed)
    recommended = ranker.rank(data.events, np.arange(data.num_users, dtype=np.int32), k).lengths(k)
    reasons = score.shortfall_reasons(ranker, data, recommended, k).to_pylist()
    assert reason in reasons
    assert set(reasons) <= {reason, None, "catalogue_exhausted"}


def test_popular_titles_fit_into_the_caps_together_and_are_eligible():
    data, _ = WORLDS[2]
    popular = by_popularity(data, data.events, RUN_DATE, config.Popular(segments=("group",)))
    eligible = np.arange(data.num_items) % 2 == 0
    caps = Caps.of({"kind": 3}, pa.table({"kind": [f"k{n % 3}" for n in range(data.num_items)]}))
    table = score.popular_table(score.only(popular, eligible), data, 8, caps)
    for segment in popular.segments:
        rows = [row for row in table.to_pylist() if row["segment"] == segment]
        kinds = [int(row["item_id"]) % 3 for row in rows]
        assert [row["rank"] for row in rows] == list(range(1, 9))
        assert all(int(row["item_id"]) % 2 == 0 for row in rows)
        assert max(map(kinds.count, kinds)) <= 3


ITEMS = pa.table(
    {
        "item_id": ["1", "2", "3"],
        "title": ["Heat (1995)", 'It\'s "odd"; --', None],
        "genres": [["Action", "Crime"], [], None],
        "year": [1995, 2001, None],
        "first_at": pa.array([date(2020, 1, 1), date(2021, 1, 1), None]).cast(pa.timestamp("us")),
    }
)


@pytest.mark.parametrize(
    ("sql", "met"),
    [
        ("year >= 2000", [False, True, False]),
        ("list_contains(genres, 'Action') or title like 'It''s%'", [True, True, False]),
        ("len(list_filter(genres, lambda g: g = 'Crime')) = 1", [True, False, False]),
        ("case when year is null then true else year between 1990 and 1999 end -- a comment", [True, False, True]),
        ("items.year % 2 = 1 and year(first_at) in (2020, 2021)", [True, True, False]),
        ("null::boolean", [False] * 3),
        ('"item_id"::int > 1', [False, True, True]),
    ],
)
def test_conditions_are_asked_of_each_item_in_order(sql, met):
    assert rules.condition(sql, ITEMS, "rules.eligible").tolist() == met


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"user": ["a"], "item_id": ["1"]}, "no column user_id; it has user, item_id"),
        ({"user_id": ["a"], "item_id": ["1"], "untill": ["2020-01-01"]}, "column untill is unknown or doubled"),
        ({"user_id": ["a", " "], "item_id": ["1", "2"]}, "row 2: user_id is empty"),
        ({"user_id": ["a", "b"], "item_id": ["1", None]}, "row 2: item_id is empty"),
        ({"user_id": [1.0], "item_id": ["1"]}, "user_id is double; write the ids as text"),
        ({"user_id": ["a"], "item_id": ["1"], "until": ["tomorrow"]}, "row 1: until 'tomorrow': expected a date"),
    ],
)
def test_a_wrong_row_of_denials_is_named_with_its_cure(table, complaint):
    with pytest.raises(DataError, match=rf"^deny\.csv.*{complaint}"):
        rules.parse_denials(pa.table(table), "deny.csv")


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"title": ["a"]}, "no column item_id; it has title"),
        ({"item_id": ["1"], "segment": ["women"]}, "row 1: segment 'women': expected feature=value"),
        ({"item_id": ["1", "2"], "rank": ["1", "first"]}, "row 2: rank 'first': expected a whole number"),
        ({"item_id": ["1", "2"], "rank": ["1", None]}, "row 2: rank None"),
    ],
)
def test_a_wrong_row_of_pins_is_named_with_its_cure(table, complaint):
    with pytest.raises(DataError, match=rf"^pins\.csv.*{complaint}"):
        rules.parse_pins(pa.table(table), "pins.csv")


def test_a_denial_ends_on_its_day_and_rows_on_nobody_forbid_nothing():
    table = pa.table(
        {
            "user_id": ["a", "a", "b", "ghost", "a"],
            "item_id": ["1", "2", "7", "1", "1"],
            "until": ["", "2024-03-01", "2024-03-02", "", "2030-01-01"],
        }
    )
    on = rules.parse_denials(table, "deny.csv").on(date(2024, 3, 1))
    forbidden = rules.denied(on, pa.array(["a", "b"]), pa.array(["1", "2", "7"]), np.array([0, 1, 0], dtype=np.int32))
    assert [forbidden.offsets.tolist(), forbidden.items.tolist()] == [[0, 1, 2], [0, 0]]


def test_pins_stand_by_rank_then_item_once_each_and_for_their_segment_only():
    table = pa.table(
        {"item_id": ["c", "b", "a", "gone", "c"], "segment": ["", "x=1", None, "", "x=1"], "rank": [2, 1, 2, 1, 9]}
    )
    users = pa.table({"user_id": ["u", "v"], "x": [1, None]})
    pins = rules.pinned(
        rules.parse_pins(table, "pins.csv"), users, pa.array(["a", "b", "c"]), np.arange(3, dtype=np.int32), "pins.csv"
    )
    assert pins.of(np.array([0, 1], dtype=np.int32)).tolist() == [[1, 0, 2, NO_ITEM], [NO_ITEM, 0, 2, NO_ITEM]]
    with pytest.raises(DataError, match=r"pins\.csv row 2: segment 'x=1': no user feature 'x'; this source has: none"):
        rules.pinned(
            rules.parse_pins(table, "pins.csv"),
            users.drop_columns(["x"]),
            pa.array(["a"]),
            np.arange(1, dtype=np.int32),
            "pins.csv",
        )


def test_caps_count_a_title_for_each_of_its_values_once():
    table = pa.table({"genres": [["a", "b", "a"], None, ["b"]], "year": [1990, None, 1990]})
    caps = Caps.of({"genres": 1, "year": 2}, table)
    assert caps.names == ("genres=a", "genres=b", "year=1990")
    assert caps.values.tolist() == [[0, 1, 2], [3, 3, 3], [1, 2, 3]]
    for column in ("nothing", "struct"):
        with pytest.raises(ConfigError, match=rf"rules\.at_most: .*{column!r}"):
            Caps.of({column: 1}, table.append_column("struct", pa.array([{"x": 1}] * 3)))


def night_of(obeyed, k):
    data, towers = WORLDS[0]
    ranker = ranker_of(data, towers, obeyed)
    book = RuleBook(config.Rules(), data, data.item_ids, np.arange(data.num_items, dtype=np.int32), data.items)
    return _Night({"k": k, "engine": "tree"}, data, book, obeyed, ranker)


def test_why_not_knows_whom_the_model_knows_and_agrees_with_the_list():
    night = night_of(Rules(), 8)
    data, ranker = night.data, night.ranker
    lists = ranker.rank(data.events, np.arange(data.num_users, dtype=np.int32), 8)
    reasons = {}
    for user, item in np.ndindex(data.num_users, data.num_items):
        answer = night.answer(data.user_ids[user].as_py(), data.item_ids[item].as_py(), "title")
        reasons.setdefault(answer.reason, []).append(answer)
        mine = data.events.items[data.events.offsets[user] : data.events.offsets[user + 1]]
        assert (answer.reason == "seen") == (item in mine)
        # What exact search lists although the published index did not is a miss of that index.
        assert (answer.reason == "missed_by_search") == (item in lists.positions[user])
    assert set(reasons) == {"seen", "missed_by_search", "ranked_below", "not_in_vocabulary"}
    unknown = {answer.item_id for answer in reasons["not_in_vocabulary"]}
    assert unknown <= {data.item_ids[n].as_py() for n in np.flatnonzero(ranker.catalogue.row_of_item < 0)}
    assert all(answer.facts["rank"] > 8 for answer in reasons["ranked_below"])
