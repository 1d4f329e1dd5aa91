"""Small datasets and towers made by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa

from recbatch import config, dataset, schemas
from recbatch.contracts import EventFactors, SourceTables

RUN_DATE = date(2024, 3, 1)


def tables(events, items, users=None, merge_by_title=False):
    """Source tables from (user, item, days before the run date or None) triples and {item: title}."""
    midnight = datetime.combine(RUN_DATE, datetime.min.time())
    rows = [
        {
            "user_id": user,
            "item_id": item,
            "occurred_at": None if days is None else midnight - timedelta(days=days),
            "rating": None,
            "weight": None,
        }
        for user, item, days in events
    ]
    return SourceTables(
        interactions=pa.Table.from_pylist(rows, schema=schemas.arrow(schemas.INTERACTIONS)),
        items=pa.table({"item_id": list(items), "title": list(items.values())}),
        users=users if users is not None else pa.table({"user_id": pa.array([], pa.string())}),
        quarantine=schemas.arrow(schemas.QUARANTINE).empty_table(),
        inputs=(),
        merge_by_title=merge_by_title,
    )


def build(events, items, users=None, merge_by_title=False, **settings):
    return dataset.build(tables(events, items, users, merge_by_title), config.Data(**settings), RUN_DATE)


@dataclass(frozen=True)
class SumTowers:
    """Towers whose query is the sum of the candidate vectors of the history."""

    item_ids: pa.StringArray
    candidates: np.ndarray
    returning_weight: float = 1.0

    @property
    def dim(self):
        return self.candidates.shape[1]

    @property
    def query_bias(self):
        return np.zeros(self.dim, np.float32)

    def event_factors(self, histories):
        return EventFactors(self.candidates, (self.dim,), np.ones((1, len(histories.items)), np.float32))

    def profiles(self, data):
        return None

    def with_items(self, data):
        return self

    def embed(self, histories, profiles=None, factors=None):
        queries = np.zeros((histories.num_users, self.dim), np.float32)
        np.add.at(queries, histories.users_of_events(), self.candidates[histories.items])
        return queries


def random_world(seed, users=60, items=40, most_events=30, cold=5):
    """A dataset with users of every history length, cold ones too, and towers that know all but three items."""
    generator = np.random.default_rng(seed)
    events = []
    for user in range(users):
        for _ in range(generator.integers(1, most_events)):
            events.append((f"u{user:03}", str(generator.integers(items)), float(generator.uniform(0.1, 90))))
    listed = pa.table(
        {
            "user_id": [f"u{n:03}" for n in range(users + cold)],
            "group": ["a", "b", None, "a", "b"] * ((users + cold) // 5),
        }
    )
    data = build(events, {str(n): f"Title {n}" for n in range(items)}, users=listed)
    known = data.item_ids.take(pa.array([n for n in range(data.num_items) if n % 13 != 5]))
    return data, SumTowers(known, generator.normal(size=(len(known), 6)).astype(np.float32))


def plain(table: pa.Table) -> pa.Table:
    """A table with its ids as text, to compare: a dictionary of more rows holds more."""
    encoded = [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in table.schema]
    return table.cast(pa.schema(encoded))
