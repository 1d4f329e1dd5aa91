"""On whom nothing new bears: one digest over what all lists share, and one per user over what is theirs alone.

Titles enter by their ids, never by position: positions shift when titles come in, lists do not. No loop over users.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recbatch import store
from recbatch.contracts import NO_ITEM, NO_TIME, Dataset, Events, Int64s, Json
from recbatch.score.lists import Ranker

UInt64s = npt.NDArray[np.uint64]

_USERS_AT_ONCE = 65_536
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_NOTHING = np.uint64(0)


def shared_digest(ranker: Ranker, data: Dataset, settings: Json) -> str | None:
    """Hex sha256 over all that a list depends on besides its user: candidates, towers, search, rules and settings.

    Popularity is left out: lists that hold rows by it are never kept. So are denials and pins: they are by user.

    Args:
        ranker: tonight's.
        data: tonight's.
        settings: what the caller knows besides: the model's id, the length of lists, versions.

    Returns:
        None where lists are by popularity only.
    """
    catalogue, towers, rules = ranker.catalogue, ranker.towers, ranker.rules
    if catalogue is None or towers is None or ranker.index is None:
        return None
    rows = np.flatnonzero(catalogue.row_of_item >= 0)
    once_each = _once_each(catalogue.row_of_item[rows])
    depends_on = settings | {
        "candidates": _sha256(catalogue.embeddings),
        "candidate_ids": data.item_ids.take(pa.array(catalogue.positions)).to_pylist(),
        "known_ids": data.item_ids.take(pa.array(rows)).to_pylist(),
        "history": _sha256(towers.event_factors(once_each).of(once_each.items)),
        "query_bias": _sha256(towers.query_bias),
        "search": [ranker.index.engine, int(getattr(ranker.index, "effort", 0))],
        "keep_seen": ranker.keep_seen,
    }
    if rules.caps is not None:  # codes stand for `names`
        pinned = rules.pins.items if rules.pins is not None else catalogue.positions[:0]
        offered = rules.caps.values[np.concatenate([catalogue.positions, pinned])]
        depends_on["caps"] = [list(rules.caps.names), rules.caps.limits.tolist(), _sha256(offered)]
    return hashlib.sha256(store.canonical(depends_on)).hexdigest()


def user_digests(ranker: Ranker, data: Dataset) -> UInt64s:
    """What each user's list depends on besides `shared_digest`, as 64 bits.

    That is: titles and weights of the history that the model reads, in order; what is barred; pins; tokens. Not the id.

    Returns:
        Shape (users,). Equal for one user on two nights where all of that is equal, different but for chance (2⁻⁶⁴)
        where it is not.
    """
    names = text_hashes(data.item_ids)
    parts = [
        _digests(ranker, data.events, names, np.arange(start, min(start + _USERS_AT_ONCE, data.num_users)))
        for start in range(0, data.num_users, _USERS_AT_ONCE)
    ]
    return np.concatenate([np.zeros(0, np.uint64), *parts])


def text_hashes(texts: pa.StringArray) -> UInt64s:
    """Shape (texts,): the first 64 bits of each text's BLAKE2b."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts.to_pylist())
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _digests(ranker: Ranker, events: Events, names: UInt64s, users: Int64s) -> UInt64s:
    mine, who = events.of_users(users), users.astype(np.int32)
    barred = ranker.barred(mine, who)
    parts = [_of_rows(barred.offsets, names[barred.items])]
    if ranker.catalogue is not None:
        read = mine.where(ranker.catalogue.row_of_item[mine.items] >= 0)
        weights = read.weights.view(np.uint32).astype(np.uint64)
        parts.append(_of_rows(read.offsets, _mixed(names[read.items] + _mixed(weights))))
    if ranker.rules.pins is not None:
        stream = ranker.rules.pins.of(who)
        if ranker.rules.eligible is not None:
            stream[~ranker.rules.eligible[stream]] = NO_ITEM
        parts += [np.where(column == NO_ITEM, _NOTHING, names[column]) for column in stream.T]
    if ranker.profiles is not None:
        parts += list(ranker.profiles[users].astype(np.int64).view(np.uint64).T)
    return _chained(parts, len(users))


def _chained(parts: Iterable[UInt64s], rows: int) -> UInt64s:
    """One value per row of all parts, in their order."""
    state = np.full(rows, _GOLDEN)
    for part in parts:
        state = _mixed(state * _GOLDEN + _mixed(part))
    return state


def _of_rows(offsets: Int64s, values: UInt64s) -> UInt64s:
    """One value per row of compressed sparse rows, by values, their order and how many there are."""
    counts = np.diff(offsets)
    place = np.arange(len(values)) - np.repeat(offsets[:-1], counts) + 1
    mixed = _mixed(values + _mixed(place.astype(np.uint64) * _GOLDEN))
    sums = np.concatenate([[_NOTHING], np.cumsum(mixed, dtype=np.uint64)])  # wraps, and differences wrap back
    return _mixed(sums[offsets[1:]] - sums[offsets[:-1]] + counts.astype(np.uint64) * _GOLDEN)


def _mixed(values: UInt64s) -> UInt64s:
    """Every bit of the result depends on every bit: the finaliser of SplitMix64, Steele, Lea and Flood (2014)."""
    values = values + _GOLDEN
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)), dtype=np.uint64)


def _once_each(rows: npt.NDArray[np.int32]) -> Events:
    """A history of one event for each row of the vocabulary."""
    count = len(rows)
    return Events(
        np.arange(count + 1, dtype=np.int64),
        rows,
        np.full(count, NO_TIME),
        np.ones(count, np.float32),
        np.full(count, np.nan, np.float32),
    )


def _sha256(array: npt.NDArray[np.generic]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
