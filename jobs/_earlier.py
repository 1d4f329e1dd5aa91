"""What a night is compared with: an account of its own input, and the live runs of earlier dates."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recbatch import schemas, store, views
from recbatch.config import Config
from recbatch.contracts import DAY_MICROSECONDS, NO_TIME, Dataset, Json, SourceTables
from recbatch.errors import StorageFailed
from recbatch.store import Lake

from ._lake import manifest_of

_DAYS = 35
"""Days before the run date whose events are counted one by one: five weeks."""


def account(tables: SourceTables, data: Dataset) -> Json:
    """What the manifest says of the input, for the runs after it.

    Returns:
        `events`, `titles`; `newest_at` (ISO time, UTC) and `newest_day_events` (on the day before the run date), none
        without times; `days`, ISO day → events, those without any left out; `columns`, as `SourceTables.columns`.
    """
    times = data.events.where(data.events.occurred_at != NO_TIME).occurred_at
    end = int(np.datetime64(data.run_date, "D").astype(np.int64))
    counts = np.bincount(np.maximum(times // DAY_MICROSECONDS - (end - _DAYS) + 1, 0), minlength=_DAYS + 1)[1:]
    days = {(data.run_date - timedelta(days=_DAYS - n)).isoformat(): int(c) for n, c in enumerate(counts) if c}
    return {
        "events": len(data.events.items),
        "titles": data.num_items,
        "newest_at": str(times.max().astype("datetime64[us]")) if len(times) else None,
        "newest_day_events": int(counts[-1]) if len(times) else None,
        "days": days,
        "columns": tables.columns,
    }


def earlier(lake: Lake, live: list[str], head: Json, changes: Json | None, config: Config) -> views.Earlier:
    """The runs before a staged one: for each date the run that counts, later dates left out.

    Args:
        lake: the runs are live in it.
        live: run ids, oldest first.
        head: of tonight's manifest; `parent` names the newest run of an earlier date.
        changes: from `since_parent`.
        config: how many runs are compared.

    Raises:
        StorageFailed: a file of the parent is damaged.
    """
    run_date = date.fromisoformat(head["run_date"])
    by_date = {store.run_key(run_id)[0]: run_id for run_id in live if store.run_key(run_id)[0] < run_date}
    nights = [manifest_of(lake, run_id) for run_id in list(by_date.values())[::-1][: config.audit.runs_compared]]
    if not nights:
        return views.Earlier()
    parent = lake.run(nights[0]["run_id"])
    items = _distinct(parent / schemas.ITEMS.name, "item_id")
    gone = pa.array(list(head.get("withdrawn", ())), pa.string())
    return views.Earlier(
        nights=nights,
        users=_distinct(parent / schemas.USERS.name, "user_id"),
        items=items.filter(pc.invert(pc.is_in(items, value_set=gone))),
        listed=_distinct(parent / schemas.RECOMMENDATIONS.name, "item_id"),
        changes=changes or {},
    )


def _distinct(folder: Path, column: str) -> pa.StringArray:
    """The ids in one column of a table, once each."""
    with ThreadPoolExecutor(2) as pool:  # Arrow decodes beside Python; more would hold more files at once
        found = list(pool.map(lambda path: _distinct_in(path, column), store.matching(folder, "*.parquet")))
    return pc.unique(pa.concat_arrays([pa.array([], pa.string()), *found]))


def _distinct_in(path: Path, column: str) -> pa.StringArray:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=[column]) as file:
            ids = file.read(columns=[column], use_threads=False)[column]
    except (OSError, pa.ArrowException) as error:
        raise StorageFailed(f"{path}: cannot be read ({error}); run `recbatch verify`") from error
    parts = [chunk.dictionary.take(pc.unique(chunk.indices)) for chunk in ids.chunks]
    return pc.unique(pa.concat_arrays([pa.array([], pa.string()), *parts]))
