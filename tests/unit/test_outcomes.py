"""Realised metrics as fractions: per user first, by horizon, segment and source."""

from __future__ import annotations

from datetime import date, datetime

import pyarrow as pa
import pytest

from recbatch import outcomes, schemas

DAY = date(2026, 3, 1)
GROUPS = {
    "a": ["gender=F", "source=model"],
    "b": ["gender=F", "source=popular"],
    "c": ["gender=M"],
    "d": ["source=popular"],
}
ROWS = [
    # user, item, day, status, served, rank, source
    ("a", "1", 1, "hot", 20, 1, "model"),
    ("a", "2", 1, "hot", 20, None, None),
    ("a", "3", 3, "hot", 20, 12, "popular"),
    ("b", "1", 2, "cold", 20, 2, "popular"),
    ("c", "1", 1, "warm", 0, None, None),
    ("d", "9", 3, "unknown", 20, 10, "popular"),
]


@pytest.fixture(scope="module")
def found() -> dict[tuple[object, ...], dict[str, object]]:
    rows = [(user, item, datetime(2026, 3, day), day, *rest, GROUPS[user]) for user, item, day, *rest in ROWS]  # noqa: DTZ001
    realised = pa.table(list(zip(*rows, strict=True)), schema=schemas.arrow(schemas.REALISED))
    table = outcomes.measure(realised, run_id="r.1", run_date=DAY, k=20, horizons=(1, 3), samples=50, seed=1)
    assert table.schema == schemas.arrow(schemas.REALISED_METRICS)
    keys = ("horizon_days", "metric", "k", "segment", "source")
    return {tuple(row[key] for key in keys): row for row in table.to_pylist()}


@pytest.mark.parametrize(
    ("key", "value", "users", "without"),
    [
        ((1, "recall", 10, "all", "all"), (1 / 2 + 0) / 2, 2, 1),
        ((3, "recall", 10, "all", "all"), (1 / 3 + 1 + 0 + 1) / 4, 4, 1),
        ((3, "recall", 20, "all", "all"), (2 / 3 + 1 + 0 + 1) / 4, 4, 1),
        ((3, "recall", 20, "all", "model"), (1 / 3) / 4, 4, 1),
        ((3, "recall", 20, "all", "popular"), (1 / 3 + 1 + 1) / 4, 4, 1),
        ((3, "hit_rate", 10, "status=hot", "all"), 1 / 1, 1, 0),
        ((3, "mrr", 10, "all", "all"), (1 + 1 / 2 + 0 + 1 / 10) / 4, 4, 1),
        ((3, "recall", 10, "status=warm", "all"), 0 / 1, 1, 1),
        ((3, "hit_rate", 10, "status=unknown", "all"), 1 / 1, 1, 0),
        ((3, "served", 20, "all", "all"), 3 / 4, 4, 1),
        ((3, "recall", 20, "gender=F", "all"), (2 / 3 + 1) / 2, 2, 0),
        ((1, "recall", 20, "gender=F", "all"), (1 / 2) / 1, 1, 0),
        ((3, "served", 20, "gender=M", "all"), 0 / 1, 1, 1),
        ((3, "hit_rate", 20, "source=popular", "all"), (1 + 1) / 2, 2, 0),
    ],
)
def test_values_are_means_over_users_with_events(found, key, value, users, without):
    row = found[key]
    assert (row["value"], row["users"], row["users_without_list"]) == (pytest.approx(value), users, without)
    assert row["ci_low"] <= row["value"] <= row["ci_high"]


def test_recall_adds_up_over_sources(found):
    parts = [found[3, "recall", 20, "all", source]["value"] for source in ("model", "popular")]
    assert sum(parts) == pytest.approx(found[3, "recall", 20, "all", "all"]["value"])


def test_only_the_segments_all_and_status_are_split_by_source(found):
    split = {segment.partition("=")[0] for _, _, _, segment, source in found if source != "all"}
    assert split == {"all", "status"}


def test_an_outcome_without_segments_keeps_its_statuses():
    row = ("a", "1", datetime(2026, 3, 1), 1, "hot", 20, 1, "model", None)  # noqa: DTZ001
    realised = pa.table([[value] for value in row], schema=schemas.arrow(schemas.REALISED))
    table = outcomes.measure(realised, run_id="r.1", run_date=DAY, k=20, horizons=(1,), samples=5, seed=1)
    assert set(table["segment"].to_pylist()) == {"all", "status=hot"}


@pytest.mark.parametrize(
    ("until", "horizons"),
    [
        ("2026-02-01", ()),
        ("2026-03-01", ()),
        ("2026-03-02", (1,)),
        ("2026-03-08", (1, 3, 7)),
        ("2027-01-01", outcomes.HORIZONS),
    ],
)
def test_a_horizon_counts_when_it_is_over(until, horizons):
    assert outcomes.horizons_over(DAY, date.fromisoformat(until)) == horizons
