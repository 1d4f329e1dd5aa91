"""Named faults of the input, each with its outcome: refused in one line that says why, or read with the fault on record.

An outcome is `exit code: words of the line`, or what was read: users, items, events, then what was counted or rejected.
"""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import pytest

from recbatch import config, dataset, sources
from recbatch.errors import RecbatchError

RUN_DATE = date(2024, 2, 1)
ITEMS = [(str(n), f"Title {n}") for n in range(1, 11)]
EVENTS = [
    (f"u{user}", str(1 + (user * 3 + n) % 10), f"2024-01-{1 + (user + n) % 28:02}T{n:02}:00:00")
    for user in range(20)
    for n in range(5)
]


class World:
    """A sound input that a fault is planted into."""

    def __init__(self):
        self.items, self.events = list(ITEMS), list(EVENTS)
        self.item_columns, self.event_columns = ["item_id", "title"], ["user_id", "item_id", "occurred_at"]
        self.settings = {}

    def each(self, change):
        self.events = [change(n, *event) for n, event in enumerate(self.events)]


def shifted(hours):
    return lambda w: w.each(lambda n, u, i, t: (u, i, (datetime.fromisoformat(t) + timedelta(hours=hours)).isoformat()))


def stamped(text):
    return lambda w: w.each(lambda n, u, i, t: (u, i, text if n == 0 else t))


def every(step, user=None, item=None, time=None):
    def change(w):
        w.each(
            lambda n, u, i, t: (
                (u if user is None else user, i if item is None else item, t if time is None else time)
                if n % step == 0
                else (u, i, t)
            )
        )

    return change


def titled(*titles):
    def change(w):
        w.items = [(i, titles[n] if n < len(titles) else t) for n, (i, t) in enumerate(w.items)]

    return change


def do(**values):
    def change(w):
        for name, value in values.items():
            setattr(w, name, value(getattr(w, name)) if callable(value) else value)

    return change


WHOLE = "20 users, 10 items, 100 events"
FAULTS = {
    "nothing wrong": (do(), WHOLE),
    "no interactions at all": (do(events=[]), "65: … no usable event before 2024-02-01"),
    "empty catalogue": (do(items=[]), "65: … the catalogue cannot be empty"),
    "half the input": (do(events=EVENTS[:50]), "10 users, 10 items, 50 events"),
    "one user": (do(events=EVENTS[:5]), "1 users, 10 items, 5 events"),
    "one title": (do(items=ITEMS[:1]), "65: … most often unknown_item (90)"),
    "one event": (do(events=EVENTS[:1]), "1 users, 10 items, 1 events"),
    "a day delivered twice": (
        do(events=lambda e: e + [x for x in e if x[2] < "2024-01-03"]),
        "100 events {'duplicate_event': 3}",
    ),
    "all of it delivered twice": (do(events=lambda e: e * 2), WHOLE),
    "timestamps a year late": (shifted(24 * 366), "65: … impossible_timestamp (100)"),
    "timestamps a day late": (shifted(24), WHOLE),
    "timestamps an hour late": (shifted(1), WHOLE),
    "time before 1970": (stamped("1850-01-01T00:00:00"), "99 events {'impossible_timestamp': 1}"),
    "time in the year 9999": (stamped("9999-12-31T00:00:00"), "99 events {'impossible_timestamp': 1}"),
    "time that is a word": (stamped("yesterday"), "99 events {'bad_timestamp': 1}"),
    "time that is empty": (stamped(""), "100 events {}"),
    "the 30th of February": (stamped("2024-02-30T00:00:00"), "99 events {'bad_timestamp': 1}"),
    "local time, summer": (stamped("2023-07-01T12:00:00+02:00"), WHOLE),
    "the hour that a DST day repeats": (stamped("2023-10-29T02:30:00+01:00"), WHOLE),
    "the hour that a DST day leaves out": (stamped("2023-03-26T02:30:00"), WHOLE),
    "the last instant before the run date": (stamped("2024-01-31T23:59:59.999999"), WHOLE),
    "the run date's first instant": (stamped("2024-02-01T00:00:00"), "20 users, 10 items, 99 events"),
    "the clock set back to before the events": (do(settings={"today": date(2024, 1, 5)}), "65: … impossible_timestamp"),
    "milliseconds for seconds": (every(1, time="1706000000000"), "65: … pass --set source.time_unit=ms"),
    "renamed user column": (do(event_columns=["userId", "item_id", "occurred_at"]), "65: … rename column userId"),
    "renamed item column": (do(event_columns=["user_id", "movie", "occurred_at"]), "65: … no column item_id"),
    "renamed time column": (do(event_columns=["user_id", "item_id", "timestamp"]), "65: … rename column timestamp"),
    "renamed title column": (do(item_columns=["item_id", "name"]), "65: … no column title"),
    "a column twice": (do(event_columns=["user_id", "user_id", "occurred_at"]), "65: … stands there 2 times"),
    "ids turned into decimals": (every(1, item="1.0"), "65: … unknown_item (100)"),
    "ids that lost their zeros": (
        do(items=lambda items: [(f"00{i}", t) for i, t in items]),
        "65: … unknown_item (100)",
    ),
    "ids with leading zeros": (do(items=lambda i: [*i, ("007", "Bond")]), "20 users, 11 items, 100 events"),
    "an empty user id": (every(200, user=""), "99 events {'empty_id': 1}"),
    "every second user id empty": (every(2, user=""), "65: … empty_id (50)"),
    "unknown items": (every(200, item="999"), "99 events {'unknown_item': 1}"),
    "every second item unknown": (every(2, item="999"), "65: … unknown_item (50)"),
    "a user id of 10,000 characters": (every(200, user="x" * 10_000), "21 users, 10 items, 100 events {}"),
    "a NUL in a user id": (every(200, user="a\0b"), "99 events {'nul_in_id': 1}"),
    "an item twice": (do(items=lambda i: [*i, i[0]]), "duplicate_item"),
    "an item without a title": (titled(""), "missing_title"),
    "titles that are equal": (titled("same", "same"), WHOLE),
    "a title of 10,000 characters": (titled("x" * 10_000), WHOLE),
    "a title from right to left": (titled("\u202e\u05e9\u05dc\u05d5\u05dd"), WHOLE),
    "a title of emoji": (titled("🎬🎞️"), WHOLE),
    "a NUL in a title": (titled("a\0b"), WHOLE),
    "a title with quotes, commas and line ends": (titled('a "b", c\nd'), WHOLE),
    "a user who saw everything": (
        do(events=lambda e: [*e, *[("all", i, "2024-01-09T00:00:00") for i, _ in ITEMS]]),
        "21 users, 10 items, 110 events",
    ),
    "a user with 50,000 events": (
        do(
            events=lambda e: [
                *e,
                *[
                    ("much", str(1 + n % 10), (datetime(2023, 1, 1, tzinfo=UTC) + timedelta(minutes=n)).isoformat())
                    for n in range(50_000)
                ],
            ]
        ),
        "21 users, 10 items",
    ),
}


def write(folder, world):
    tables = ("items", world.item_columns, world.items), ("interactions", world.event_columns, world.events)
    for name, columns, rows in tables:
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *rows])


def outcome(folder, change):
    world = World()
    change(world)
    write(folder, world)
    settings = config.Config(source={"uri": f"files:{folder}"})
    today = world.settings.get("today", date(2024, 3, 1))
    try:
        tables = sources.read(settings.source, before=RUN_DATE, today=today)
        data = dataset.build(tables, settings.dataset, RUN_DATE, merge_by_title=False)
    except RecbatchError as error:
        return f"{error.exit_code}: {error}"
    reasons = dict(Counter(tables.quarantine["reason"].to_pylist()))
    kept = tables.interactions.num_rows
    return f"{data.num_users} users, {data.num_items} items, {kept} events {reasons} {tables.counts} {data.counts}"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_the_outcome_that_is_named(tmp_path, name):
    change, expected = FAULTS[name]
    got = outcome(tmp_path, change)
    assert all(words in got for words in expected.split(" … ")), got
    assert got.startswith("65:") == expected.startswith("65:")
    assert "\n" not in got
