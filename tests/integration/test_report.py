from __future__ import annotations

import base64
import re
from datetime import datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from recbatch import report, schemas
from recbatch.report import _calibration, _plots

DAY = datetime(1998, 4, 22, 12)  # noqa: DTZ001 - timestamps of the lake are UTC without a zone
EVIL = "<script>alert('x')</script> & \"Sons\" <img src=https://evil.example/x>"
REASON = "gate_not_worse_than_popular: observed ndcg@10 0.0512, expected at least popular's 0.0812"

HEAD: dict[str, Any] = {
    "run_id": "1998-04-23.1",
    "run_date": "1998-04-23",
    "source": "movielens/100k",
    "status": "published",
    "model_id": "m-0123abcd",
    "k": 2,
    "judge_protocol": "time:14d",
    "train": {"reason": "no model yet", "objective": "next", "epochs": 150, "losses": [[6.25, 5.5, 5.125]]},
    "engine": "brute",
    "certificate": {
        "engine": "brute",
        "k": 120,
        "users": 943,
        "recall": 0.9975,
        "ci_low": 0.9961,
        "worst_percentile": 0.9417,
        "score_loss": 0.0,
        "target": 0.99,
    },
    "decisions": ["engine auto: 4 titles: ScaNN brute force"],
    "seconds": {"read": 2.5, "train": 200.0, "score": 0.25},
    "peak_bytes": 1536 * 2**20,
    "rows": {"recommendations": 7},
    "counts": {"titles_merged": 18},
    "machine": {"cores": 2},
}


def price(rule: str, setting: str, effect: float | None) -> dict[str, Any]:
    figures = {
        "rows_removed": 1234,
        "users_shortened": 5,
        "users": 2000,
        "metric": "ndcg",
        "k": 10,
        "judged_users": 203,
    }
    low, high = (None, None) if effect is None else (effect - 0.01, effect + 0.01)
    return {"rule": rule, "setting": setting, "effect": effect, "ci_low": low, "ci_high": high} | figures


def metric(name: str, k: int, segment: str, source: str, value: float, width: float = 0.01) -> tuple[Any, ...]:
    return (name, k, segment, source, "time:14d", value, value - width, value + width, 214)


def tables() -> dict[str, list[tuple[Any, ...]]]:
    return {
        "recommendations": [
            ("a", 1, "1", EVIL, 9.0, "model", "2"),
            ("a", 2, "3", "Dune", 8.0, "model", None),
            ("b", 1, "1", EVIL, 7.0, "model", None),
            ("b", 2, "2", "Brazil (1985)", 6.5, "segment", None),
            ("c", 1, "1", EVIL, 5.0, "popular", None),
        ],
        "popular": [("all", 1, "1", EVIL, 40.0), ("gender=F", 1, "2", "Brazil (1985)", 9.0)],
        "users": [
            ("a", 40, DAY, DAY, "hot", 2, None),
            ("b", 3, DAY, DAY, "warm", 2, None),
            ("c", 0, None, None, "cold", 1, "catalogue_exhausted"),
        ],
        "items": [
            ("1", EVIL, None, 30, DAY, DAY, True),
            ("2", "Brazil (1985)", None, 8, DAY, DAY, True),
            ("3", "Dune", None, 5, DAY, DAY, True),
            ("4", "Nobody's (1990)", None, 0, None, None, False),
        ],
        "holdout": [("a", "2", DAY, 1, "model")],
        "metrics": [
            metric(name, k, segment, source, value * scale)
            for segment, scale in (("all", 1.0), ("status=warm", 1.5))
            for name, k, values in (("ndcg", 10, (0.1234, 0.0812)), ("recall", 20, (0.25, 0.125)))
            for source, value in zip(("model", "popular"), values, strict=True)
        ],
        "audits": [
            ("a_check", "error", True, "no rows", "no rows at all", None),
            ("gate_judged", "warn", True, "214 users to judge", "at least 50", None),
            ("z_check", "warn", False, "0.4 %", "at least 1 %", "the cure"),
        ],
        "quarantine": [("ratings.csv", n, "unknown_item", f'{{"row": "<b>{n}</b>"}}') for n in range(1, 6)],
    }


def connection(**changes: list[tuple[Any, ...]]) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(
        "create macro segment_metrics(k) as table select 'genre=<Noir>' as segment, 'ndcg' as metric, 0.25::double as value,"
        " 0.2::double as ci_low, 0.3::double as ci_high, 12 as users"
    )
    for name, rows in (tables() | changes).items():
        schema = schemas.arrow(next(table for table in schemas.RUN_TABLES if table.name == name))
        columns = list(zip(*rows, strict=True)) or [()] * len(schema)
        con.register(name, pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema))
    return con


class _Reader(HTMLParser):
    """What a browser would see: the text of the body, every tag, every attribute that loads something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.loads: list[str] = []
        self.alts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        self.alts += [value or "" for name, value in attrs if name == "alt"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "body" in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(con: duckdb.DuckDBPyConnection, head: dict[str, Any]) -> _Reader:
    html = report.render(con, head)
    reader = _Reader(html)
    assert reader.open == []
    return reader


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of a report's time, and says nothing about its sentences."""
    monkeypatch.setattr(_plots, "plot", lambda draw, height, alt: _plots.Plot(b"<svg/>", alt))


@pytest.fixture(scope="module")
def page() -> _Reader:
    return read(connection(), HEAD)


def test_write_puts_the_rendered_page_into_the_folder(tmp_path: Path) -> None:
    con = connection()
    path = report.write(tmp_path, con, HEAD)
    assert path == tmp_path / "report.html"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text("utf-8") == report.render(con, HEAD)
    assert path.stat().st_size < 1_000_000
    tables_left = con.execute("select table_name from duckdb_tables() where temporary").fetchall()
    assert tables_left == []


def test_equal_input_gives_equal_bytes() -> None:
    assert report.render(connection(), HEAD) == report.render(connection(), HEAD)


def test_the_headline_says_how_good_it_is(page: _Reader) -> None:
    assert "Run 1998-04-23.1 published Model beats popularity: ndcg@10 0.123 vs 0.081, +52 %." in page.text


def test_the_figures_of_every_section_appear(page: _Reader) -> None:
    for fact in (
        "0.1234 0.113…0.133",
        "status=warm (214)",
        "3 of 4 titles (75.0 %)",  # items 1, 2, 3 of four
        "popular 1 20.0 %",  # one row of five
        "catalogue exhausted 1 1 1.0",
        # Amounts of the four titles sorted: 0 1 1 3; Gini = (-3·0 - 1·1 + 1·1 + 3·3) / (4 · 5) = 9/20.
        "Recommended rows 0.450 60.0 % 60.0 % 75.0 %",
        # 0 5 8 30: (-5 + 8 + 90) / (4 · 43) = 93/172.
        "Interactions 0.541 69.8 % 69.8 % 75.0 %",
        "m-0123abcd",
        "6.2500 → 5.1250",
        "✓ at or above target",
        "0.9975 (95 % interval from 0.9961)",
        "2 of 3 checks passed",
        "unknown item 5",
        "titles merged 18",
        "3 min 23 s in all up to this report; peak memory 1.5 GiB",
        "hot, 40 events, last on 1998-04-22; 2 rows",
        "Brazil (1985) model 9.000",  # rank 1 of a: because of item 2
    ):
        assert fact in page.text, fact


def test_failed_audits_come_first(page: _Reader) -> None:
    assert page.text.index("z_check") < page.text.index("a_check")
    assert "0.4 % the cure at least 1 %" in page.text


def test_three_rows_of_each_quarantine_reason_are_shown(page: _Reader) -> None:
    assert [f"<b>{n}</b>" in page.text for n in range(1, 6)] == [True, True, True, False, False]


@pytest.mark.usefixtures("undrawn")
def test_a_blocked_run_says_so_before_anything_else() -> None:
    text = read(connection(), HEAD | {"status": "blocked", "blocked_because": [REASON, "second reason"]}).text
    assert text.startswith(f"Blocked: {REASON} second reason Nothing was published")


@pytest.mark.usefixtures("undrawn")
def test_a_degraded_run_gives_the_reason() -> None:
    text = read(connection(), HEAD | {"status": "degraded", "degraded_reason": "launch day"}).text
    assert text.startswith("Degraded: published although a check failed. Reason given: launch day")


def test_titles_and_settings_cannot_inject_markup(page: _Reader) -> None:
    assert EVIL in page.text
    everywhere = HEAD | {
        "source": EVIL,
        "model_id": EVIL,
        "decisions": [EVIL],
        "counts": {EVIL: 1},
        "machine": {"x": EVIL},
        "rules": [price(EVIL, EVIL, 0.0)],
    }
    everywhere |= {"status": "blocked", "blocked_because": [EVIL], "seconds": {EVIL: 1.0, "$x_{": 2.0}, "run_id": EVIL}
    for reader in (page, read(connection(), everywhere)):
        assert "script" not in reader.tags
        assert "link" not in reader.tags
        assert set(reader.tags) <= set(page.tags) | {"section", "strong", "ul", "li"}


def test_rules_have_their_price_in_a_table_and_without_rules_there_is_none(page: _Reader) -> None:
    rules = [price("eligible", '"year > 1990"', -0.0123), price("pins", '"pins.csv"', None)]
    text = read(connection(), HEAD | {"rules": rules}).text
    assert "Price of each rule" in text
    assert 'eligible "year > 1990" 1,234 5 \u22120.0123 \u22120.022…\u22120.002' in text
    assert 'pins "pins.csv" 1,234 5 \u2013' in text
    assert "Price of each rule" not in page.text


def test_nothing_is_loaded_from_elsewhere(page: _Reader) -> None:
    images = [load for load in page.loads if not load.startswith("#")]
    assert len(images) == 4
    for image in images:
        svg = base64.b64decode(image.removeprefix("data:image/svg+xml;base64,")).decode()
        assert svg.rstrip().endswith("</svg>")
        assert "<script" not in svg
        assert not re.findall(r'(?:href|src)="(?!#)', svg)
        assert not re.findall(r"url\((?!#)", svg)
    assert not re.findall(r"https?://", report.render(connection(popular=[], items=[], recommendations=[]), HEAD))


def test_plots_have_alternative_text(page: _Reader) -> None:
    assert len(page.alts) == 4
    assert "ndcg@10: Model 0.1234, Popularity 0.0812" in page.alts[0]
    assert "Seconds per stage: read 2.5 s, train 3 min 20 s, score 0.25 s." in page.alts


@pytest.mark.usefixtures("undrawn")
def test_every_key_of_the_head_may_be_missing() -> None:
    assert "Model beats popularity" in read(connection(), {}).text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("missing", HEAD)
def test_any_key_of_the_head_may_be_none(missing: str) -> None:
    assert report.render(connection(), {"status": "published", missing: None})


@pytest.mark.usefixtures("undrawn")
def test_an_unjudged_run_says_why() -> None:
    gate = ("gate_judged", "warn", False, "12 users to judge", "at least 50", "too few users with new events")
    reader = read(connection(metrics=[], audits=[gate]), HEAD)
    assert "Not judged: too few users with new events." in reader.text
    assert len(reader.alts) == 3


@pytest.mark.usefixtures("undrawn")
def test_popularity_only_is_called_so() -> None:
    text = read(connection(metrics=[]), HEAD | {"model_id": None, "certificate": None, "engine": "none"}).text
    assert "Popularity only: no model stands behind these lists. Not judged" in text
    assert "None: these lists come from no index." in text


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("model", "popular", "words"),
    [
        (0.06, 0.08, "Model falls behind popularity: ndcg@10 0.060 vs 0.080, -25 %."),
        (0.08, 0.08, "Model equals popularity: ndcg@10 0.080 vs 0.080, +0.0 % (their 95 % intervals overlap)."),
        (0.085, 0.08, "0.085 vs 0.080, +6.2 % (their 95 % intervals overlap)."),
        (0.05, 0.0, "Model beats popularity: ndcg@10 0.050 vs 0.000."),
    ],
)
def test_the_headline_takes_sides_as_the_figures_do(model: float, popular: float, words: str) -> None:
    rows = [
        metric("ndcg", 10, "all", source, value, 0.005)
        for source, value in (("model", model), ("popular", popular), ("parent", 0.1))
    ]
    text = read(connection(metrics=rows), HEAD).text
    assert words in text
    assert f"Against its parent: {model:.3f} vs 0.100" in text


def difference(contender: str, baseline: str, value: float, low: float, high: float) -> dict[str, Any]:
    row = {"metric": "ndcg", "k": 10, "segment": "all", "contender": contender, "baseline": baseline, "users": 214}
    return row | {"value": value, "ci_low": low, "ci_high": high}


@pytest.mark.usefixtures("undrawn")
def test_champion_challenger_and_baselines_stand_side_by_side_with_paired_intervals() -> None:
    rows = [
        metric("ndcg", 10, "all", source, value)
        for source, value in (("model", 0.12), ("parent", 0.11), ("challenger", 0.1), ("popular", 0.08))
    ]
    head = HEAD | {
        "differences": [
            difference("model", "popular", 0.04, 0.03, 0.05),
            difference("model", "parent", 0.01, -0.002, 0.022),
            difference("challenger", "model", -0.02, -0.03, -0.01),
            difference("challenger", "popular", 0.02, 0.01, 0.03),
        ]
    }
    text = read(connection(metrics=rows), head).text
    assert (
        "Model Champion (parent run) Challenger (failed) Popularity"
        " Model \N{MINUS SIGN} popularity Model \N{MINUS SIGN} champion Model \N{MINUS SIGN} challenger" in text
    )
    assert "+0.0400 +0.030…+0.050 +0.0100 \N{MINUS SIGN}0.002…+0.022 +0.0200 +0.010…+0.030" in text
    assert "ndcg@10 0.120 vs 0.080, +50 %." in text


@pytest.mark.usefixtures("undrawn")
def test_the_headline_goes_by_the_paired_interval() -> None:
    rows = [metric("ndcg", 10, "all", source, value, 0.05) for source, value in (("model", 0.1), ("popular", 0.08))]
    sure, unsure = (HEAD | {"differences": [difference("model", "popular", 0.02, low, 0.04)]} for low in (0.01, -0.01))
    assert "ndcg@10 0.100 vs 0.080, +25 %." in read(connection(metrics=rows), sure).text
    assert "+25 % (no more than chance explains)." in read(connection(metrics=rows), unsure).text


@pytest.mark.usefixtures("undrawn")
def test_the_gates_metric_leads() -> None:
    head = HEAD | {"config": {"judge": {"metric": "recall", "metric_k": 20}}}
    assert "Model beats popularity: recall@20 0.250 vs 0.125, +100 %." in read(connection(), head).text


@pytest.mark.parametrize("losses", [[3.0, 2.5, float("inf"), float("nan")], [[2.0]], [[], [2.0, 1.5], [1.0, 0.5]]])
def test_losses_of_any_shape_are_drawn(losses: list[Any]) -> None:
    curves = report._curves({"train": {"losses": losses}})
    assert (_plots.losses(curves) is None) == (losses == [[2.0]])


def test_a_metric_that_is_no_number_is_left_out() -> None:
    rows = [metric("ndcg", 10, "all", "model", float("nan")), metric("ndcg", 10, "all", "popular", 0.08)]
    text = read(connection(metrics=rows), HEAD).text
    assert "beats" not in text
    assert "0.0800" in text


def test_an_empty_run_renders() -> None:
    nothing: dict[str, list[tuple[Any, ...]]] = {name: [] for name in tables()}
    text = read(connection(**nothing), HEAD).text
    for sentence in (
        "No users.",
        "No recommendations.",
        "The catalogue is empty.",
        "No checks were run.",
        "Empty: every input row was used as it came.",
        "No user has a list.",
    ):
        assert sentence in text, sentence


def test_a_single_title_renders() -> None:
    one = ("1", "Only (1999)", None, 1, DAY, DAY, True)
    rows = [("a", 1, "1", "Only (1999)", 1.0, "model", None)]
    text = read(connection(items=[one], recommendations=rows), HEAD).text
    assert "1 of 1 titles (100.0 %)" in text
    assert "Recommended rows 0.000 100.0 % 100.0 % 100.0 %" in text


def test_damaged_rows_of_a_blocked_run_render() -> None:
    rows = [("a", 1, "99", "Stranger", float("nan"), "model", "98"), ("a", 2, "1", "x", float("-inf"), "model", None)]
    twice = tables()["items"] + tables()["items"][:1]
    text = read(connection(recommendations=rows, items=twice), HEAD | {"status": "blocked"}).text
    assert "the manifest names no reason" in text
    assert "Stranger" in text


def test_a_missing_table_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    con = connection()
    con.unregister("audits")
    with pytest.raises(duckdb.CatalogException, match="audits"):
        report.write(tmp_path, con, HEAD)
    assert list(tmp_path.iterdir()) == []


def test_segments_and_past_nights_are_told_and_their_absence_too() -> None:
    past = [
        {"run_id": "2024-02-27.1", "status": "published", "metric": "ndcg@10", "model": 0.4321, "popular": 0.1234}
        | {"realised": realised, "days": days}
        for realised, days in ((0.2222, 7), (None, None))
    ]
    told = _Reader(report.render(connection(), HEAD, past)).text
    assert "genre=<Noir> 12 0.2500 0.200…0.300" in told
    assert "2024-02-27.1 published ndcg@10 0.4321 0.1234 0.2222 7" in told
    assert "No earlier run is kept." in _Reader(report.render(connection(), HEAD)).text


def test_the_trend_draws_what_was_judged_and_what_was_realised_by_horizon() -> None:
    past = [
        {"run_id": f"1998-04-{day}.1", "status": "published", "metric": "ndcg@10", "model": 0.25, "popular": 0.125}
        | {"realised": 0.5, "days": 7, "horizons": {"1": 0.375, "7": 0.5}}
        for day in (20, 21)
    ]
    [alt] = [alt for alt in _Reader(report.render(connection(), HEAD, past)).alts if "run dates" in alt]
    assert "Judged, model: 1998-04-20 0.250, 1998-04-21 0.250, 1998-04-23 0.123;" in alt
    assert "Realised, 1 day: 1998-04-20 0.375, 1998-04-21 0.375" in alt
    assert report.trend_svg(past[:1]) is None
    assert report.trend_svg([]) is None
    drawn = report.trend_svg(past)
    assert drawn
    assert b"Realised, 7 days" in drawn


@pytest.mark.usefixtures("undrawn")
def test_changes_of_the_lists_are_told() -> None:
    changes = {"users": 2, "compared": 2, "overlap": 0.75, "rbo": 0.5, "unchanged": 1, "replaced": 0}
    changes |= {"without_list_before": 0, "entered": [{"title": EVIL, "users": 2}], "dropped": []}
    text = read(connection(), HEAD | {"changes": changes, "parent": "1998-04-22.1"}).text
    assert "against those of run 1998-04-22.1, of 2 users spread evenly over all; averages over the 2 of them" in text
    assert "Titles kept 75.0 % mean overlap" in text
    assert f"Title Users {EVIL} 2 Titles that left most lists None." in text
    assert "There is no run before" in read(connection(), HEAD).text


def test_the_calibration_curve_is_drawn_and_told_in_words() -> None:
    trials = [
        {"engine": "ah", "effort": effort, "recall": recall, "users_per_second": speed, "build_seconds": 1.0}
        for effort, recall, speed in ((1, 0.75, 4000.0), (2, 0.995, 2500.0))
    ]
    taken = {"engine": "ah", "effort": 2, "reason": "cheapest at target", "sampled": 512, "trials": trials}
    reader = read(connection(), HEAD | {"calibration": {"lists": taken}})
    assert "measured on 512 of tonight's users. cheapest at target" in reader.text
    [alt] = [alt for alt in reader.alts if "users/s" in alt]
    assert "ah effort 1: recall 0.7500, 4,000 users/s; ah effort 2: recall 0.9950, 2,500 users/s." in alt
    assert alt.endswith("Chosen: ah, effort 2.")
    assert (
        "Recall against speed" not in read(connection(), HEAD | {"calibration": {"lists": taken | {"trials": []}}}).text
    )
    drawn = _calibration.curve(taken, 0.99)
    assert drawn
    assert b"mathdefault" not in drawn.svg
