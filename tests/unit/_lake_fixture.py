"""A small sound lake, written by hand per `schemas`: three known users, five candidates, k = 3, a buffer of 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import schemas, store

K = 3
FIRST, SECOND = "2026-03-01.1", "2026-03-02.1"
Rows = Sequence[Sequence[Any]]
DAY = datetime(2026, 2, 28, 12)  # noqa: DTZ001 - timestamps of the lake are UTC without a zone

TITLES = {"1": "Alien (1979)", "2": "Brazil (1985)", "3": "Élan; it's", "10": "-- Dune", "11": "東京物語"}


def _list(user: str, rows: Rows) -> list[tuple[Any, ...]]:
    return [(user, rank, item, TITLES[item], score, source, why) for rank, item, score, source, why in rows]


def tables() -> dict[str, list[tuple[Any, ...]]]:
    """The rows of a sound run by table, in the order of the columns in `schemas`."""
    return {
        "recommendations": [
            *_list("a", [(1, "2", 9.0, "model", "1"), (2, "3", 7.0, "model", "1"), (3, "10", 7.0, "model", None)]),
            *_list(
                "b'; drop",
                [(1, "11", 1.0, "pinned", None), (2, "1", 5.0, "model", "3"), (3, "2", 8.0, "popular", None)],
            ),
            *_list("c", [(1, "1", 9.0, "popular", None), (2, "2", 8.0, "popular", None)]),
        ],
        "recommendations_buffer": [*_list("a", [(4, "11", 3.0, "model", None)])],
        "similar_items": [
            ("1", 1, "2", TITLES["2"], 0.9),
            ("1", 2, "3", TITLES["3"], 0.5),
            ("2", 1, "1", TITLES["1"], 0.9),
        ],
        "popular": [
            *[("all", n + 1, i, TITLES[i], 9.0 - n) for n, i in enumerate(["1", "2", "3", "10", "11"])],
            ("gender=F", 1, "2", TITLES["2"], 4.0),
        ],
        "users": [
            ("a", 1, DAY, DAY, "hot", 3, None, "F"),
            ("b'; drop", 1, DAY, DAY, "warm", 3, None, "M"),
            ("c", 0, None, None, "cold", 2, "too few candidates", None),
        ],
        "items": [(i, t, ["Drama"] if i == "1" else None, 2, DAY, DAY, True, 1979) for i, t in TITLES.items()],
        "holdout": [("a", "2", DAY, 1, "model"), ("b'; drop", "10", None, None, None)],
        "histories": [("a", 1, "1", DAY), ("b'; drop", 1, "3", None)],
        "metrics": [("recall", 10, "all", "model", "time:14d", 0.5, 0.25, 0.75, 2)],
        "audits": [("users_exist", "error", True, "0", "at least one known user", None)],
        "rules": [("eligible", '"year > 1950"', 3, 4, 1, "ndcg", 10, 2, -0.01, -0.03, 0.01)],
        "quarantine": [("ratings.csv", 7, "unknown_item", '{"item_id": "99"}')],
    }


SEEN = pa.table({"user_id": ["a", "b'; drop"], "item_id": ["1", "3"]})
"""The histories of the users above."""

RULES = {
    "denied": pa.table({"user_id": ["a", "c"], "item_id": ["1", "11"]}),
    "ineligible": pa.table({"item_id": ["99"]}),
    "limits": pa.table({"item_id": ["1", "3"], "value": ["genres=Drama"] * 2, "at_most": [1, 1]}),
    "pins": pa.table({"place": [1, 2], "item_id": ["11", "10"], "segment": [1, 1]}),
    "pinned_for": pa.table({"segment": [1], "user_id": ["b'; drop"]}),
}
"""Rules that the lists above obey."""

EXTRA = {"users": pa.field("gender", pa.string()), "items": pa.field("year", pa.int64())}


def head(run_id: str = FIRST, **changes: Any) -> dict[str, Any]:
    """The head of a manifest."""
    day = run_id.rsplit(".", 1)[0]
    return {
        "contract": schemas.CONTRACT_VERSION,
        "run_id": run_id,
        "run_date": day,
        "started_at": f"{day}T02:00:00+00:00",
        "finished_at": f"{day}T02:10:00Z",
        "model_id": "m1",
        "trained_before": day,
        "engine": "exact",
        "k": K,
        "rows": {name: len(rows) for name, rows in tables().items()},
        "users": 3,
        "parent": None,
        "source": "sample",
        "status": "published",
        "degraded_reason": None,
        "keep_seen": False,
    } | changes


def write_run(
    folder: Path, rows: Mapping[str, Rows] | None = None, *, split: int = 0, without: Sequence[str] = ()
) -> Path:
    """Writes the tables of a run, unsealed; `split` > 0 puts that many rows into each file of recommendations."""
    for table in schemas.RUN_TABLES:
        if table.name in without:
            continue
        schema = schemas.arrow(table)
        schema = pa.schema([f.with_nullable(True) for f in schema])
        if table.name in EXTRA:
            schema = schema.append(EXTRA[table.name])
        content = ({**tables(), **(rows or {})})[table.name]
        columns = list(zip(*content, strict=True)) or [()] * len(schema)
        data = pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
        target = folder / table.name
        target.mkdir(parents=True)
        step = split if split and table.name == "recommendations" else max(len(data), 1)
        for part, start in enumerate(range(0, max(len(data), 1), step)):
            pq.write_table(data.slice(start, step), target / f"part-{part:05}.parquet", write_page_checksum=True)
    return folder


def publish(lake: store.Lake, run_id: str, rows: Mapping[str, Rows] | None = None, **changes: Any) -> Path:
    """Writes and seals a run in its final place, without a catalog."""
    lake.create()
    folder = write_run(lake.run(run_id), rows)
    store.seal(folder, head(run_id, **changes))
    return folder


def second_night() -> dict[str, list[tuple[Any, ...]]]:
    """The night after: `a` loses one title, `b'; drop` all of them, `c` is gone, `d` is new."""
    rows = tables()
    rows["recommendations"] = [
        *_list("a", [(1, "2", 9.0, "model", "1"), (2, "3", 7.0, "model", "1"), (3, "11", 6.0, "model", None)]),
        *_list("b'; drop", [(1, "10", 5.0, "model", "3"), (2, "3", 4.0, "model", None)]),
        *_list("d", [(1, "1", 9.0, "popular", None), (2, "2", 8.0, "popular", None), (3, "3", 7.0, "popular", None)]),
    ]
    rows["recommendations_buffer"] = []
    rows["users"] = [
        ("a", 1, DAY, DAY, "hot", 3, None, "F"),
        ("b'; drop", 1, DAY, DAY, "warm", 2, "too few candidates", "M"),
        ("d", 0, None, None, "cold", 3, None, None),
    ]
    return rows
