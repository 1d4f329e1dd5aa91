from __future__ import annotations

from typing import Any

import pytest

from recbatch.report import _format


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("count", 1234567, "1,234,567"),
        ("count", 2.5, "2.5"),
        ("count", 3.0, "3"),
        ("mean", 100.0, "100.0"),
        ("share", 0.1234, "12.3 %"),
        ("share", 0.0, "0.0 %"),
        ("share", 0.00001, "< 0.1 %"),
        ("figure", 0.12345, "0.1235"),
        ("signed", 0.01234, "+0.0123"),
        ("signed", -0.01234, "\N{MINUS SIGN}0.0123"),
        ("signed", None, "\N{EN DASH}"),
        ("score", 9.0, "9.000"),
        ("score", 0.12345, "0.123"),
        ("score", 123456.7, "123,457"),
        ("score", -1.5, "-1.500"),
        ("duration", 0.25, "0.25 s"),
        ("duration", 12.34, "12.3 s"),
        ("duration", 59.99, "1 min 00 s"),
        ("duration", 200, "3 min 20 s"),
        ("duration", 7500, "2 h 05 min"),
        ("size", 512, "512 B"),
        ("size", 1536 * 2**20, "1.5 GiB"),
        ("size", 3 * 2**40, "3.0 TiB"),
        ("words", "unknown_item", "unknown item"),
        ("text", 0, "0"),
        ("text", "x" * 300, "x" * 300),
        ("text", "x" * 301, "x" * 299 + "…"),
    ],
)
def test_filters(name: str, value: Any, shown: str) -> None:
    assert _format.FILTERS[name](value) == shown


@pytest.mark.parametrize("name", _format.FILTERS)
def test_nothing_is_a_dash(name: str) -> None:
    assert _format.FILTERS[name](None) == "\u2013"


@pytest.mark.parametrize("name", ["count", "mean", "share", "figure", "score", "duration", "size"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), "3"])
def test_what_is_no_number_is_a_dash(name: str, value: object) -> None:
    assert _format.FILTERS[name](value) == "\u2013"


@pytest.mark.parametrize(
    ("value", "baseline", "shown"),
    [(3, 2, "+50 %"), (1.05, 1, "+5.0 %"), (1, 4, "-75 %"), (1, 1, "+0.0 %"), (1, 0, "\u2013"), (None, 1, "\u2013")],
)
def test_change(value: Any, baseline: Any, shown: str) -> None:
    assert _format.change(value, baseline) == shown
