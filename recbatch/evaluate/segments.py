"""Groups of judged users: those with and without a history, those of each rung of the ladder, and declared ones."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import schemas
from recbatch.contracts import NO_ITEM, Bools, Dataset, Lists
from recbatch.errors import ConfigError
from recbatch.evaluate.pairs import HeldOut


def segments(pairs: HeldOut, lists: Lists, data: Dataset, declared: Iterable[str]) -> dict[str, Bools]:
    """Name → shape (judged,): who is in it; segments without anybody are left out.

    `all`, `status=…`, `source=…` (where the first row of the user's list comes from), then the declared ones, as
    `declared_segments` gives them.

    Args:
        pairs: what was held out.
        lists: the judged model's, for `pairs.users`.
        data: has the users' features.
        declared: `name=value`, or `name` for each of its values.

    Raises:
        ConfigError: a name is no user feature of this source.
    """
    found = {"all": np.ones(len(pairs.users), dtype=np.bool_), "status=warm": pairs.warm, "status=cold": ~pairs.warm}
    first = np.where(lists.positions[:, 0] == NO_ITEM, -1, lists.sources[:, 0])
    found |= {f"source={name}": first == number for number, name in enumerate(schemas.SOURCES)}
    for name in declared:
        found |= declared_segments(name, pairs, data)
    return {name: mask for name, mask in found.items() if mask.any()}


def declared_segments(declared: str, pairs: HeldOut, data: Dataset) -> dict[str, Bools]:
    """The segments of one declaration; `gender=F` is one even where nobody is in it.

    `activity` goes by the events before the held-out ones, in the buckets of `schemas.ACTIVITY`; anything else is a
    user feature.

    Raises:
        ConfigError: no such user feature.
    """
    name, equals, value = declared.partition("=")
    labels = _labels(name, pairs, data)
    values = [value] if equals else pc.unique(labels).drop_null().sort().to_pylist()
    return {
        f"{name}={text}": np.asarray(
            pc.fill_null(pc.equal(labels, text), fill_value=False).to_numpy(zero_copy_only=False), dtype=np.bool_
        )
        for text in values
    }


def _labels(name: str, pairs: HeldOut, data: Dataset) -> pa.Array:
    """Shape (judged,): each user's value, as text; null where it is not known."""
    if name == "status":
        return pa.array(np.where(pairs.warm, "warm", "cold"))
    if name == "activity":
        bucket = np.searchsorted(list(schemas.ACTIVITY.values()), pairs.history, side="right") - 1
        return pa.array(list(schemas.ACTIVITY)).take(pa.array(bucket))
    if name not in data.users.column_names or name == "user_id":
        known = ", ".join(["status", "activity", *data.users.column_names[1:]])
        raise ConfigError(f"judge.segment_floors: this source has no user feature {name!r}; there is {known}")
    return data.users[name].combine_chunks().cast(pa.string()).take(pa.array(pairs.users))
