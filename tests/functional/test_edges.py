"""Small and strange worlds: each is published correctly, with its reasons on record."""

import csv
import random

TITLES = [
    "🎬 emoji",
    "\u202eright-to-left",
    "x" * 10_000,
    "O'Brien; drop table users",
    "<script>alert(1)</script>",
    "same",
    "same",
    "",
    "日本語",
]


def write(folder, items, interactions, header=("user_id", "item_id", "occurred_at")):
    folder.mkdir()
    for name, first, rows in (("items", ("item_id", "title"), items), ("interactions", header, interactions)):
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([first, *rows])
    return f"files:{folder}"


def test_one_user_who_has_seen_the_only_title(cli, tmp_path):
    source = write(tmp_path / "one", [("1", "Only")], [("a", "1", "2024-01-01T10:00:00")])
    done = cli.night("2024-02-01", source=source)
    assert done["rows"]["recommendations"] == 0
    assert cli.rows("select recommended, shortfall_reason from users") == [
        {"recommended": 0, "shortfall_reason": "catalogue_exhausted"}
    ]
    unknown = cli.rows("from recs_for('nobody')")
    assert [(row["rank"], row["title"], row["source"]) for row in unknown] == [(1, "Only", "popular")]


def test_events_without_times_and_three_titles(cli, tmp_path):
    pairs = [("a", "1"), ("b", "2"), ("c", "1"), ("c", "3"), ("c", "2")]
    source = write(tmp_path / "few", [("1", "A"), ("2", "B"), ("3", "C")], pairs, ("user_id", "item_id"))
    done = cli.night("2024-02-01", source=source)
    assert done["train"]["objective"] == "fill_in", "order means nothing without times"
    rows = cli.rows("select user_id, count(*) as n from recommendations group by all order by all")
    assert rows == [{"user_id": "a", "n": 2}, {"user_id": "b", "n": 2}]


def test_strange_titles_and_a_user_of_inhuman_volume(cli, tmp_path):
    generator = random.Random(1)
    items = [(str(n), TITLES[n] if n < len(TITLES) else f"t{n}") for n in range(150)]
    events = [
        (
            f"u{generator.randrange(80)}",
            str(generator.randrange(150)),
            f"2024-01-{1 + generator.randrange(28):02}T{generator.randrange(24):02}:00:00",
        )
        for _ in range(3000)
    ]
    events += [
        ("heavy", str(n % 150), f"2024-01-{1 + n % 28:02}T01:{n % 60:02}:{n // 60 % 60:02}") for n in range(5000)
    ]
    # There is nothing to learn from random events, so nobody is asked whether the model did.
    unjudged = ("--set", "judge.users_needed=1000")
    done = cli.night("2024-02-01", *unjudged, source=write(tmp_path / "strange", items, events))
    assert done["status"] == "published"
    titles = {row["item_id"]: row["title"] for row in cli.rows("select item_id, title from items")}
    assert [titles[str(n)] for n in range(9)] == [*TITLES[:7], "7", TITLES[8]], "a missing title is the id"
    assert cli.rows("select recommended from users where user_id = 'heavy'") == [{"recommended": 0}]
    assert cli.rows("select reason, count(*) as n from quarantine where reason = 'missing_title' group by all") == [
        {"reason": "missing_title", "n": 1}
    ]
    report = (cli.lake / "runs" / "2024-02-01.1" / "report.html").read_text("utf-8")
    assert "<script>alert" not in report
