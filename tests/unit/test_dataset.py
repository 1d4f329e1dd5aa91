"""Positions, order and merging: what every stage relies on."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from recbatch import _compiling, _ordering, dataset, schemas, store
from recbatch.config import Data
from recbatch.contracts import NO_TIME, Events, Exclusions, SourceTables
from recbatch.errors import DataError

from ._worlds import build


def test_items_stand_by_length_then_text_and_users_by_bytes():
    data = build([("b", "10", 1), ("ä", "9", 1), ("a", "0007", 1)], {"10": "x", "9": "y", "0007": "z", "11": "w"})
    assert data.item_ids.to_pylist() == ["9", "10", "11", "0007"]
    assert data.user_ids.to_pylist() == ["a", "b", "ä"]


def test_ids_keep_their_zeros():
    data = build([("0104257", "0000001", 1)], {"0000001": "x"})
    assert data.user_ids.to_pylist() == ["0104257"]
    assert data.item_ids.to_pylist() == ["0000001"]


@pytest.mark.parametrize("unit", [1, 7, 10**6, 3 * 10**15])
@pytest.mark.parametrize("untimed", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("among", [3000, 20, 1])
@pytest.mark.parametrize("order", [dataset._by_user_and_time, _ordering.by_user_and_time])
def test_the_order_of_events_is_that_of_a_sort_by_user_and_time(unit, untimed, among, order):
    random_ = np.random.default_rng(5)
    users = random_.integers(among, size=5000).astype(np.int32)
    times = random_.integers(-500, 500, size=5000) * unit
    times[random_.random(5000) < untimed] = NO_TIME
    offsets = np.concatenate([[0], np.cumsum(_ordering.counts(users, among + 1))])
    assert offsets.tolist() == np.searchsorted(np.sort(users), np.arange(among + 2)).tolist()
    assert order(users, times, offsets).tolist() == np.lexsort((times, users)).tolist()


def test_no_events_have_an_order():
    nothing = np.empty(0, np.int64)
    assert _ordering.by_user_and_time(nothing.astype(np.int32), nothing, np.zeros(1, np.int64)).tolist() == []


@pytest.mark.parametrize("compiled", [False, True])
def test_events_stand_by_user_and_time_ties_in_input_order(compiled, monkeypatch):
    monkeypatch.setattr(_compiling, "is_due", lambda operations: compiled)
    data = build(
        [("b", "2", 1), ("a", "1", 5), ("b", "1", 3), ("b", "3", 3), ("a", "2", None)], {"1": "x", "2": "y", "3": "z"}
    )
    assert data.events.offsets.tolist() == [0, 2, 5]
    assert data.item_ids.take(pa.array(data.events.items)).to_pylist() == ["2", "1", "1", "3", "2"]
    assert data.events.occurred_at[0] == NO_TIME
    assert data.events.weights.tolist() == [1.0] * 5
    assert np.isnan(data.events.ratings).all()


def test_items_of_one_title_become_one_candidate_with_the_smallest_id_and_all_its_events():
    items = {"100": "Heat (1995)", "7": "Heat (1995)", "8": "Nil by Mouth (1997)", "20": "Heat (1995)"}
    data = build([("a", "100", 2), ("a", "8", 1), ("b", "20", 1)], items, merge_by_title=True)
    assert data.item_ids.to_pylist() == ["7", "8"]
    assert data.titles.to_pylist() == ["Heat (1995)", "Nil by Mouth (1997)"]
    assert data.events.items.tolist() == [0, 1, 0]
    assert data.counts["titles_merged"] == 2


def test_users_of_either_table_are_known_and_features_are_null_where_unlisted():
    listed = pa.table({"user_id": ["c", "a"], "gender": ["F", "M"]})
    data = build([("a", "1", 1), ("b", "1", 1)], {"1": "x"}, users=listed)
    assert data.user_ids.to_pylist() == ["a", "b", "c"]
    assert data.users["gender"].to_pylist() == ["M", None, "F"]
    assert data.events.counts.tolist() == [1, 1, 0]


def test_events_below_the_least_rating_are_no_positives():
    with pytest.raises(DataError, match=r"no event before 2024-03-01 .* dataset.min_rating"):
        build([("a", "1", 1)], {"1": "x"}, min_rating=4.0)


def test_the_fingerprint_changes_with_any_event_and_with_nothing_else():
    events = [("a", "1", 2), ("b", "2", 1)]
    items = {"1": "x", "2": "y"}
    same = build(events, items).fingerprint
    assert build(list(reversed(events)), items).fingerprint == same
    assert build([("a", "1", 2), ("b", "2", 1.5)], items).fingerprint != same
    assert build(events, {"1": "x", "2": "Y"}).fingerprint != same


def test_a_forgotten_user_goes_with_events_attributes_and_quarantined_rows():
    interactions = [("u", "1"), ("v", "1"), ("u", "2")]
    tables = SourceTables(
        interactions=pa.table(
            {
                "user_id": [user for user, _ in interactions],
                "item_id": [item for _, item in interactions],
                "occurred_at": pa.nulls(3, pa.timestamp("us")),
                "rating": pa.nulls(3, pa.float32()),
                "weight": pa.nulls(3, pa.float32()),
            }
        ),
        items=pa.table({"item_id": ["1", "2"], "title": ["x", "y"], "genres": pa.nulls(2, pa.list_(pa.string()))}),
        users=pa.table({"user_id": ["u", "v"]}),
        quarantine=pa.Table.from_pylist(
            [
                {"file": "f", "row": at, "reason": "unknown_item", "content": content}
                for at, content in enumerate(
                    ['{"user_id": " u ", "item_id": "9"}', '{"user_id": "v", "item_id": "u"}', None]
                )
            ],
            schema=schemas.arrow(schemas.QUARANTINE),
        ),
        inputs=(),
        merge_by_title=False,
        counts={"interactions": 3},
    )
    assert dataset.without_users(tables, frozenset()) is tables
    left = dataset.without_users(tables, frozenset({store.sha256_text("u")}))
    assert left.interactions["user_id"].to_pylist() == ["v"]
    assert left.users["user_id"].to_pylist() == ["v"]
    assert left.quarantine["row"].to_pylist() == [1, 2]
    assert left.counts == {"interactions": 3, "forgotten": 2}
    assert tables.interactions.num_rows == 3
    data = dataset.build(left, Data(), date(2024, 1, 1))
    assert data.user_ids.to_pylist() == ["v"]


@pytest.mark.parametrize(
    "users", [[3, 4, 5, 6], [6], [5, 3, 4], [0, 2], [], [1, 1], slice(2, 9), slice(4, 4), slice(0, 12)]
)
def test_events_and_exclusions_of_some_users_are_theirs_whether_they_stand_side_by_side_or_not(users):
    random_ = np.random.default_rng(0)
    counts = random_.integers(0, 5, size=12)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    rows = np.arange(offsets[-1])
    events = Events(offsets, rows.astype(np.int32), rows * 10, rows.astype(np.float32), rows.astype(np.float32) / 2)
    which = users if isinstance(users, slice) else np.array(users, dtype=np.int32)
    theirs, barred = events.of_users(which), Exclusions(offsets, rows.astype(np.int32)).of_queries(which)
    wanted = np.arange(12)[which].tolist()
    assert theirs.num_users == len(barred.offsets) - 1 == len(wanted)
    for place, user in enumerate(wanted):
        mine = slice(theirs.offsets[place], theirs.offsets[place + 1])
        own = rows[offsets[user] : offsets[user + 1]].tolist()
        assert theirs.items[mine].tolist() == barred.items[mine].tolist() == own
        assert theirs.occurred_at[mine].tolist() == [row * 10 for row in own]
        assert theirs.ratings[mine].tolist() == [row / 2 for row in own]
    assert barred.offsets.tolist() == theirs.offsets.tolist()


def test_events_without_some_users_are_those_of_the_others():
    random_ = np.random.default_rng(0)
    counts = random_.integers(4, size=50)
    rows = np.arange(counts.sum())
    events = Events(
        np.concatenate([[0], np.cumsum(counts)]),
        rows.astype(np.int32),
        rows * 10,
        rows / np.float32(2),
        rows + np.float32(1),
    )
    gone = random_.random(50) < 0.3
    left, whole = events.without_users(gone), events.where(~gone[events.users_of_events()])
    for name in ("offsets", "items", "occurred_at", "weights", "ratings"):
        assert getattr(left, name).tolist() == getattr(whole, name).tolist()
    assert left.counts[gone].sum() == 0
    assert left.counts[~gone].tolist() == counts[~gone].tolist()
    assert events.without_users(np.zeros(50, np.bool_)) is events
