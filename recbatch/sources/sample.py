"""The generated world behind `--source sample`: planted tastes, a calendar that goes on for ever, no files.

What is planted. Every title belongs to one of a few tastes; titles of a taste form a trail. A user has a main and a
side taste, which go with gender, age band and occupation, and walks along both trails, most titles of which only
others of the same taste touch: that is what a model of histories can learn. The rest of the events are hits, which
popularity can learn, and the newest titles of the user's taste. Users and titles keep arriving, users fade.

Everything is a hash of (seed, day, number within the day), so the events of a day do not depend on the run date.
"""

from __future__ import annotations

import hashlib
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recbatch.contracts import InputFile, Int64s, Progress
from recbatch.errors import DataError
from recbatch.sources.parts import Part, RawTables
from recbatch.sources.sample_people import user_table
from recbatch.sources.sample_titles import item_table
from recbatch.sources.sample_world import FIRST_DAY, World, uniforms

_EVENTS_PER_CHUNK = 2_000_000
"""Events worked on at a time: about 500 MB of intermediate arrays."""
_TRAIL, _SIDE, _HITS, _NEW = range(4)
_CHANNELS = 4
_CHANNEL_ENDS = np.array([0.48, 0.63, 0.91])
"""Cumulative shares of the channels above; the last one gets the rest."""
_SESSION_EVENTS = np.array([0.6, 0.85, 0.95])
"""Cumulative shares of sessions of 1, 2, 3 and 4 events: 1.6 on average."""
_MEAN_SESSION_EVENTS = 1.6
_NEIGHBOURS = 4
"""A power of two. Neighbours on a trail come in any order within blocks of this many."""
_HITS_AT_A_TIME = 16
"""A power of two. Titles that are hits at the same time; a user takes them in an order of their own."""
_DAYS_PER_HIT = 10
"""The list of hits moves on by one title in this many days."""

Floats = npt.NDArray[np.float64]


def read_sample(world: World, before: date, progress: Progress) -> RawTables:
    """The world's tables as they stand before a date.

    Args:
        world: its parameters.
        before: the run date; nothing on or after it is generated.
        progress: called with the days done.

    Returns:
        Events in order of time; the users and titles that have arrived by then.

    Raises:
        DataError: the date is not behind the world's first day.
    """
    days = (before - FIRST_DAY).days
    if days < 1:
        raise DataError(f"sample: nothing happens before {FIRST_DAY + timedelta(days=1)}; use a later --run-date")
    users = user_table(world, int(world.users_by(days - 1)))
    items = item_table(world, int(world.titles_by(days - 1)))
    events = pa.concat_tables(list(_chunks(world, days, users, items, progress)))
    uri = world.uri
    identity = hashlib.sha256(f"{uri} before {before.isoformat()} {World.EDITION}".encode()).hexdigest()
    inputs = (InputFile(uri, identity, 0, events.num_rows),)
    tables = {"interactions": events, "items": items, "users": users}
    parts = {name: (Part(f"{uri}/{name}", table),) for name, table in tables.items()}
    return RawTables(parts["interactions"], parts["items"], parts["users"], inputs, merge_by_title=False)


def about_events(world: World, before: date) -> int:
    """Events before a date, about."""
    days = max(0, (before - FIRST_DAY).days)
    return int(world.sessions_on(np.arange(days)).sum() * _MEAN_SESSION_EVENTS)


def _chunks(world: World, days: int, users: pa.Table, items: pa.Table, progress: Progress) -> list[pa.Table]:
    sessions = world.sessions_on(np.arange(days))
    per_chunk = max(1, int(_EVENTS_PER_CHUNK / _MEAN_SESSION_EVENTS))
    chunk_of_day = (np.cumsum(sessions) - sessions) // per_chunk
    steps = np.zeros(users.num_rows * _CHANNELS, np.int32)
    tables = []
    for chunk in np.unique(chunk_of_day):
        of_chunk = np.flatnonzero(chunk_of_day == chunk)
        tables.append(_events(world, of_chunk, sessions[of_chunk], steps, users, items))
        progress("sample", int(of_chunk[-1]) + 1, days)
    return tables


def _events(
    world: World, days: Int64s, sessions: Int64s, steps: npt.NDArray[np.int32], users: pa.Table, items: pa.Table
) -> pa.Table:
    """The events of some days in order of time; `steps` (users * channels,) counts on over the calls."""
    day = np.repeat(days, sessions)
    number = np.arange(len(day)) - np.repeat(np.cumsum(sessions) - sessions, sessions)
    user = world.user_of_session(day, number)
    length = 1 + np.searchsorted(_SESSION_EVENTS, uniforms(world.seed, "length", day, number), side="right")
    start = uniforms(world.seed, "start", day, number) * 0.9
    session = np.repeat(np.arange(len(day)), length)
    within = np.arange(len(session)) - np.repeat(np.cumsum(length) - length, length)
    day, user, number = day[session], user[session], number[session] * 4 + within
    # A session starts in the first nine tenths of a day and makes a step every half hour at most: it ends that day.
    pause = within * (0.002 + 0.018 * uniforms(world.seed, "pause", day, number))
    seconds = ((start[session] + np.minimum(pause, 0.0999)) * 86_400).astype(np.int64)
    order = np.lexsort((number, seconds, day))
    day, user, number, seconds = day[order], user[order], number[order], seconds[order]
    channel = np.searchsorted(_CHANNEL_ENDS, uniforms(world.seed, "channel", day, number), side="right")
    step = _count_on(steps, user * _CHANNELS + channel)
    item = _items(world, day, user, channel, step)
    times = (np.datetime64(FIRST_DAY, "D") + day).astype("datetime64[us]") + seconds * np.timedelta64(1_000_000, "us")
    return pa.table(
        {
            "user_id": users["user_id"].combine_chunks().take(pa.array(user)),
            "item_id": items["item_id"].combine_chunks().take(pa.array(item)),
            "occurred_at": pa.array(times),
            "rating": _ratings(world, day, number, channel),
        }
    )


def _items(world: World, day: Int64s, user: Int64s, channel: Int64s, step: Int64s) -> Int64s:
    """Shape (events,): the title of each event."""
    tastes = world.tastes
    main, side, start, side_start = world.taste_of(user)
    window = world.first_title_of(user)
    per_taste = world.titles // tastes
    position = np.where(channel == _SIDE, side_start, start) + _shuffled(world, "trail", user, step, _NEIGHBOURS)
    taste = (np.where(channel == _SIDE, side, main) + position // per_taste) % tastes
    trail = window + tastes * (position % per_taste) + taste
    rank = day // _DAYS_PER_HIT + _shuffled(world, "hits", user, step % _HITS_AT_A_TIME, _HITS_AT_A_TIME)
    since = np.maximum(0, rank - _HITS_AT_A_TIME + 1) * _DAYS_PER_HIT
    hit = world.first_title_on(since) + rank * world.hit_stride % world.titles
    newest = world.titles_by(day) // tastes - 1 - step % max(1, per_taste // 2)
    new = newest * tastes + main
    return np.where(channel <= _SIDE, trail, np.where(channel == _HITS, hit, new))


def _shuffled(world: World, name: str, user: Int64s, step: Int64s, block: int) -> Int64s:
    """Steps in an order of the user's own within every block of `block` (a power of two): none twice, none left out."""
    return step ^ (uniforms(world.seed, name, user, step // block) * block).astype(np.int64)


def _count_on(counts: npt.NDArray[np.int32], keys: Int64s) -> Int64s:
    """How often each key came before, earlier calls included; adds these to `counts`."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]] if len(keys) else np.zeros(0, np.bool_)
    starts = np.flatnonzero(first)
    run = np.cumsum(first) - 1
    nth = np.empty(len(keys), np.int64)
    nth[order] = np.arange(len(keys)) - starts[run] + counts[ordered]
    counts[ordered[starts]] += np.diff(np.r_[starts, len(keys)]).astype(np.int32)
    return nth


def _ratings(world: World, day: Int64s, number: Int64s, channel: Int64s) -> pa.Array:
    """Half-star ratings, kinder to the user's own taste."""
    spread = uniforms(world.seed, "rating", day, number)
    stars = np.where(channel <= _SIDE, 3 + 2 * spread, 1 + 4 * spread)
    return pc.cast(pa.array(np.round(stars * 2) / 2), pa.float32())
