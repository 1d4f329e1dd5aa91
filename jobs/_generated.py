"""Generated interactions of any size as files, made in pieces: the input of `recbatch benchmark night`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import store
from recbatch.contracts import DAY_MICROSECONDS, Int64s

_USERS_AT_A_TIME = 200_000
_TASTES = 24
"""Groups of titles; each user walks in three of them."""
_DAYS = 1_000
_GENRES = ("Action", "Drama", "Comedy", "Horror", "Sci-Fi", "Romance", "War", "Musical")


def write_files(folder: Path, users: int, titles: int, events_per_user: float, end: int, seed: int = 5) -> int:
    """Writes `interactions.parquet` and `items.parquet`, as `files:` reads them; user by user, times in whole seconds.

    Histories are lognormal as MovieLens' are (sigma 1.25), no title twice; within a taste low numbers are popular.

    Args:
        folder: where to; made if missing.
        users: with at least one event each.
        titles: of the catalogue.
        events_per_user: about the mean.
        end: microseconds since 1970 UTC; every event is earlier.
        seed: of everything.

    Returns:
        Events written.
    """
    store.make_folder(folder)
    ids = pa.array(np.arange(1, titles + 1)).cast(pa.string())
    taste = np.random.default_rng(seed).integers(_TASTES, size=titles)
    names = pa.array([f"Generated Picture Number {number + 1} ({1950 + number % 75})" for number in range(titles)])
    genres = pa.array([[_GENRES[taste[number] % len(_GENRES)]] for number in range(titles)])
    pq.write_table(pa.table({"item_id": ids, "title": names, "genres": genres}), folder / "items.parquet")
    total, writer = 0, None
    for first in range(0, users, _USERS_AT_A_TIME):
        count = min(_USERS_AT_A_TIME, users - first)
        user, item, second = _events(np.random.default_rng((seed, first)), count, taste, events_per_user)
        rows = pa.table(
            {
                "user_id": pa.array(user + first + 1).cast(pa.string()),
                "item_id": ids.take(pa.array(item)),
                "occurred_at": pa.array(end - 1_000_000 * second, pa.timestamp("us")),
            }
        )
        writer = writer or pq.ParquetWriter(folder / "interactions.parquet", rows.schema)
        writer.write_table(rows)
        total += len(user)
    if writer:
        writer.close()
    return total


def _events(
    random_: np.random.Generator, users: int, taste: Int64s, events_per_user: float
) -> tuple[Int64s, Int64s, Int64s]:
    """User, title and seconds before the end of each event; users ascend, the latest event of each comes first."""
    lengths = random_.lognormal(0, 1.25, users)
    lengths = np.clip(lengths * 1.35 * events_per_user / lengths.mean(), 1, len(taste) // 4 + 1).astype(np.int64)
    user = np.repeat(np.arange(users), lengths)
    by_taste, sizes = np.argsort(taste, kind="stable"), np.bincount(taste, minlength=_TASTES)
    chosen = random_.integers(_TASTES, size=(users, 3))[user, random_.integers(3, size=len(user))]
    popular = np.exp(random_.random(len(user)) * np.log(np.maximum(sizes[chosen], 2))).astype(np.int64) - 1
    anywhere = np.exp(random_.random(len(user)) * np.log(len(taste))).astype(np.int64) - 1
    within = by_taste[np.minimum((np.cumsum(sizes) - sizes)[chosen] + popular, len(taste) - 1)]
    item = np.where(random_.random(len(user)) < 0.2, anywhere, within)
    keys = np.unique(user * len(taste) + item)
    user, item = keys // len(taste), keys % len(taste)
    joined = random_.random(users) ** 2 * _DAYS
    ago = np.clip(joined[user] * random_.random(len(user)), 0, _DAYS - 1)
    return user, item, 1 + (ago * (DAY_MICROSECONDS // 1_000_000)).astype(np.int64)
