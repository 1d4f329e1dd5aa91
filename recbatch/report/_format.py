"""Figures as people read them. None and what is no number become a dash: a blocked run may hold either."""

from __future__ import annotations

import math
from typing import Any

DASH = "\u2013"
_TEXT_LENGTH = 300
"""Characters of a free text that a table cell shows; the tables of the run hold the rest."""


def finite(value: Any) -> bool:
    """Whether it is a number that can be shown."""
    return isinstance(value, int | float) and math.isfinite(value)


def count(value: Any) -> str:
    """1234567 → 1,234,567; fractions keep one digit."""
    if not finite(value):
        return DASH
    return f"{value:,.1f}" if isinstance(value, float) and not value.is_integer() else f"{int(value):,}"


def mean(value: Any) -> str:
    """An average of counts, always with one digit: 99.9."""
    return f"{value:,.1f}" if finite(value) else DASH


def share(value: Any, digits: int = 1) -> str:
    """0.1234 → 12.3 %."""
    if not finite(value):
        return DASH
    if 0 < abs(value) < 0.5 * 10 ** -(digits + 2):
        return f"< {10**-digits:g} %"
    return f"{value * 100:.{digits}f} %"


def figure(value: Any, digits: int = 4) -> str:
    """A quality figure with a fixed number of digits: 0.1234."""
    return f"{value:.{digits}f}" if finite(value) else DASH


def signed(value: Any, digits: int = 4) -> str:
    """A difference of quality figures, its sign always there: +0.0123."""
    return f"{value:+.{digits}f}".replace("-", "\u2212") if finite(value) else DASH


def score(value: Any) -> str:
    """A score of any scale with four significant digits, never in scientific notation below a million."""
    if not finite(value):
        return DASH
    whole_digits = len(str(int(abs(value))))
    return f"{value:,.{max(0, 4 - whole_digits)}f}"


def change(value: Any, baseline: Any) -> str:
    """How far a figure lies from its baseline, relatively: +52 %, -3.1 %."""
    if not (finite(value) and finite(baseline)) or baseline == 0:
        return DASH
    ratio = value / baseline - 1
    return f"{ratio:+.1%}".replace("%", " %") if abs(ratio) < 0.1 else f"{ratio:+.0%}".replace("%", " %")


def duration(seconds: Any) -> str:
    """0.34 s, 12.3 s, 3 min 20 s, 2 h 05 min."""
    if not finite(seconds):
        return DASH
    if round(seconds, 1) < 60:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(num_bytes: Any) -> str:
    """Bytes in the largest binary unit of which there is at least one: 1.4 GiB."""
    if not finite(num_bytes):
        return DASH
    value = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def day(value: Any) -> str:
    """The date of a timestamp."""
    return f"{value:%Y-%m-%d}" if value is not None else DASH


def text(value: Any) -> str:
    """Free text, cut where a cell would overflow."""
    if value is None or value == "":
        return DASH
    whole = str(value)
    return whole if len(whole) <= _TEXT_LENGTH else f"{whole[: _TEXT_LENGTH - 1]}…"


def words(name: Any) -> str:
    """An identifier in words: unknown_item → unknown item."""
    return text(name).replace("_", " ")


FILTERS = {f.__name__: f for f in (count, mean, share, figure, signed, score, duration, size, day, text, words)}
"""What the template calls on values."""
