"""Id mapping, splits, exclusion and fallback under random input: what is promised holds for every world."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from recbatch import config, score, split
from recbatch.contracts import NO_ITEM, Dataset, Events, Split
from recbatch.index import ExactIndex
from recbatch.index._finalists import exact_scores
from recbatch.score import Catalogue, Ranker
from tests.unit._worlds import RUN_DATE, SumTowers, build

from ._examples import examples

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4)
days = st.one_of(st.floats(0.01, 400), st.none())


@st.composite
def worlds(draw, times=days):
    """(events as user, item, days before the run date; titles by item; ids of listed users)."""
    items = draw(st.lists(ids, min_size=1, max_size=12, unique=True))
    users = draw(st.lists(ids, min_size=1, max_size=8, unique=True))
    titles = {item: draw(st.sampled_from(["A", "B", "C", f"title of {item}"])) for item in items}
    events = draw(st.lists(st.tuples(st.sampled_from(users), st.sampled_from(items), times), min_size=1, max_size=40))
    return events, titles, users


def listed(users: list[str]) -> pa.Table:
    return pa.table({"user_id": pa.array(users, pa.string())})


def rows_of(events: Events) -> Counter[tuple[int, int, int]]:
    columns = (events.users_of_events(), events.items, events.occurred_at)
    return Counter(zip(*(column.tolist() for column in columns), strict=True))


@examples(60)
@given(worlds(), st.booleans())
def test_positions_name_what_they_came_from(world, merge):
    events, titles, users = world
    data = build(events, titles, users=listed(users), merge_by_title=merge)
    user_ids, item_ids = data.user_ids.to_pylist(), data.item_ids.to_pylist()
    assert user_ids == sorted(set(users), key=str.encode)
    assert item_ids == sorted(item_ids, key=lambda item: (len(item), item.encode()))
    assert data.titles.to_pylist() == [titles[item] for item in item_ids]
    told = Counter(
        (user_ids[user], data.titles[item].as_py() if merge else item_ids[item])
        for user, item in zip(data.events.users_of_events().tolist(), data.events.items.tolist(), strict=True)
    )
    assert told == Counter((user, titles[item] if merge else item) for user, item, _ in events)
    if merge:
        assert len(set(data.titles.to_pylist())) == len(item_ids), "a title is one candidate"


@examples(60)
@given(worlds(), st.integers(1, 5), st.integers(1, 500), st.integers(0, 9))
def test_splits_conserve_rows_and_train_before_they_judge(world, wanted, most_days, seed):
    events, titles, users = world
    data = build(events, titles, users=listed(users))
    before = rows_of(data.events)
    settings = config.Judge(users_wanted=wanted, max_days=most_days)
    by_time = split.by_time(data, settings)
    for parts in (
        by_time,
        split.by_hash(data, share=0.2),
        split.at_random(data.events, share=0.2, seed=seed),
        split.per_user(data.events, share=0.8),
    ):
        assert rows_of(parts.train) + rows_of(parts.test) == before
        assert parts.train.num_users == parts.test.num_users == data.num_users
    assert rows_of(data.events) == before, "the input is not changed"
    if data.has_times:
        assert_interval(by_time, data)


def assert_interval(parts: Split, data: Dataset) -> None:
    boundary = int(np.datetime64(parts.judge_from, "us").astype(np.int64))
    assert (parts.train.occurred_at < boundary).all()
    assert (parts.test.occurred_at >= boundary).all()
    assert boundary < split.microseconds(data.run_date)


@examples(60)
@given(worlds(), st.integers(0, 2**32 - 1), st.integers(1, 14))
def test_lists_are_the_best_unseen_titles_and_then_what_is_popular(world, seed, length):
    events, titles, users = world
    data = build(events, titles, users=listed(users))
    towers = some_towers(data, seed)
    popular = score.by_popularity(data, data.events, RUN_DATE, config.Popular())
    catalogue = Catalogue.of(towers, data)
    ranker = Ranker(popular, towers, catalogue, ExactIndex(catalogue.embeddings))
    lists = ranker.rank(data.events, np.arange(data.num_users, dtype=np.int32), length)
    known = catalogue.histories(data.events)
    queries = towers.embed(known)
    for user in range(data.num_users):
        seen = set(data.events.items[data.events.offsets[user] : data.events.offsets[user + 1]].tolist())
        wanted = by_model(queries[user], catalogue, seen) if known.counts[user] else []
        wanted += [item for item in popular.order[0].tolist() if item not in seen and item not in wanted]
        got = [item for item in lists.positions[user].tolist() if item != NO_ITEM]
        assert got == wanted[:length]


def some_towers(data: Dataset, seed: int) -> SumTowers:
    """Towers that know every second title at least, with equal vectors among them, so that there are ties."""
    generator = np.random.default_rng(seed)
    kept = np.flatnonzero(generator.random(data.num_items) < 0.7)
    kept = kept if len(kept) else np.array([0])
    vectors = generator.integers(-2, 3, size=(len(kept), 3)).astype(np.float32)
    vectors[0, :2] = 3, -3  # never all equal
    return SumTowers(data.item_ids.take(pa.array(kept)), vectors)


def by_model(query, catalogue: Catalogue, seen: set[int]) -> list[int]:
    """The naive twin: every candidate scored by itself, sorted by score and position."""
    count = len(catalogue.positions)
    rows, columns = np.zeros(count, np.int64), np.arange(count, dtype=np.int32)
    scores = exact_scores(query[None], catalogue.embeddings, rows, columns)
    order = np.lexsort((columns, -scores))
    return [item for item in catalogue.positions[order].tolist() if item not in seen]
