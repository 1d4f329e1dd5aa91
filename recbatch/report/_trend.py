"""How runs developed: what was judged before each was published, and what was realised afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from recbatch.contracts import Json
from recbatch.report import _format, _plots
from recbatch.report._plots import BLUE, GREY, ORANGE, Plot

_HORIZONS = {"1": ("-", "D"), "7": ("--", "^"), "30": (":", "v")}
"""Days realised that have a line, its dashes and its marker; all of five would hide each other."""

_LABELS = 7
"""Dates below the axis that fit beside each other."""

Line = tuple[str, list[tuple[date, float]], str, str, str]
"""Label, points, colour, dashes, marker."""


def plot(runs: Sequence[Json], metric: str) -> Plot | None:
    """Lines over run dates; none with fewer than two points in every line.

    Args:
        runs: oldest first: run_id, and where known model, popular and horizons (days as text → realised value).
        metric: that all of them are of, such as ndcg@10; runs that name another are left out.
    """
    dated = {_day(run): run for run in runs if run.get("metric", metric) == metric and _day(run)}
    lines = [line for line in _lines(dated) if line[1]]
    if max((len(points) for _, points, *_ in lines), default=0) < 2:
        return None

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for label, points, colour, dashes, marker in lines:
            days, values = zip(*points, strict=True)
            axes.plot(days, values, dashes, color=colour, marker=marker, markersize=5, linewidth=1.6, label=label)
        shown = _apart(sorted({day for _, points, *_ in lines for day, _ in points}))
        axes.set_xticks(shown, [str(day) for day in shown])
        axes.set_ylim(bottom=0)
        axes.margins(x=0.04, y=0.12)
        axes.set(ylabel=metric, xlabel="run date")
        figure.legend(loc="outside upper left", ncols=5)

    spoken = "; ".join(f"{label}: {_spoken(points)}" for label, points, *_ in lines)
    return _plots.plot(draw, 3.2, f"{metric} over run dates. {spoken}.")


def _lines(dated: dict[date | None, Json]) -> list[Line]:
    judged = [("Judged, model", "model", BLUE, "-", "o"), ("Judged, popularity", "popular", GREY, "--", "s")]
    lines: list[Line] = [
        (label, _points({day: run.get(key) for day, run in dated.items()}), colour, dashes, marker)
        for label, key, colour, dashes, marker in judged
    ]
    for days, (dashes, marker) in _HORIZONS.items():
        label = f"Realised, {days} day{'s' if days != '1' else ''}"
        values = {day: (run.get("horizons") or {}).get(days) for day, run in dated.items()}
        lines.append((label, _points(values), ORANGE, dashes, marker))
    return lines


def _apart(days: Sequence[date]) -> list[date]:
    """Those days, the last first, whose labels do not run into each other."""
    shown: list[date] = []
    for day in reversed(days):
        if not shown or (shown[-1] - day) * _LABELS >= days[-1] - days[0]:
            shown.append(day)
    return shown


def _points(values: dict[date | None, Any]) -> list[tuple[date, float]]:
    return [(day, float(value)) for day, value in values.items() if day and _format.finite(value)]


def _spoken(points: Sequence[tuple[date, float]]) -> str:
    return ", ".join(f"{day} {_format.figure(value, 3)}" for day, value in points)


def _day(run: Json) -> date | None:
    """The date in a run id; none where there is no sound one."""
    try:
        return date.fromisoformat(str(run.get("run_id")).rsplit(".", 1)[0])
    except ValueError:
        return None
