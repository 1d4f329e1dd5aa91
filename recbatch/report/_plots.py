"""The report's plots as SVG, drawn off screen; equal figures give equal bytes.

Matplotlib is loaded when the first plot is drawn, and only its object interface: no window, no global figure.
Colours are those of Okabe and Ito (2008), which stay apart for colour-blind readers and in grey print.
"""

from __future__ import annotations

import io
import logging
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from recbatch.contracts import Json
from recbatch.report import _format
from recbatch.report._quality import NAMES, Quality

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8A929B"
INK = "#1B1F24"
_COLOURS = {"model": BLUE, "parent": "#56B4E9", "challenger": "#E69F00", "popular": GREY}
_STYLE = {
    "svg.hashsalt": "recbatch",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9AA2AB",
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E3E6EA",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
}
_FONTS = "system-ui, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif"
"""What the page is set in; measured in DejaVu Sans, which is wider, so that nothing runs into anything."""
_WIDTH = 9.2
"""Inches."""
_CURVES = 3
"""Parts of a model whose training curves are shown."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn plot, and what it says to who cannot see it."""

    svg: bytes
    alt: str

    @property
    def src(self) -> str:
        """The picture in the page itself."""
        return "data:image/svg+xml;base64," + b64encode(self.svg).decode()


def quality(judged: Quality) -> Plot | None:
    """Grouped bars with 95 % intervals over all judged users: one group per metric, one bar per source."""
    if not judged.shown:
        return None

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        sources = [source for source in judged.sources if source in NAMES]
        width = 0.8 / max(len(sources), 1)
        for place, source in enumerate(sources):
            rows = [judged.row(metric, k, "all", source) for metric, k in judged.shown]
            at = [group + (place - (len(sources) - 1) / 2) * width for group, row in enumerate(rows) if row]
            _bars_with_intervals(axes, at, [row for row in rows if row], width * 0.9, source)
        axes.set_xticks(range(len(judged.shown)), [f"{metric}@{k}" for metric, k in judged.shown])
        axes.set_xlim(-0.6, len(judged.shown) - 0.4)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("mean over judged users")
        axes.grid(visible=False, axis="x")
        figure.legend(loc="outside upper left", ncols=4)

    spoken = [
        f"{metric}@{k}: "
        + ", ".join(
            f"{NAMES[source]} {_format.figure(row['value'])}"
            for source in NAMES
            if (row := judged.row(metric, k, "all", source))
        )
        for metric, k in judged.shown
    ]
    return plot(draw, 3.4, "Bars with 95 % intervals, all judged users. " + "; ".join(spoken) + ".")


def _bars_with_intervals(axes: Any, at: Sequence[float], rows: Sequence[Json], width: float, source: str) -> None:
    values = [row["value"] for row in rows]
    below = [max(0.0, row["value"] - row["ci_low"]) for row in rows]
    above = [max(0.0, row["ci_high"] - row["value"]) for row in rows]
    error = {"ecolor": INK, "elinewidth": 1.1, "capsize": 4}
    axes.bar(at, values, width, yerr=[below, above], color=_COLOURS[source], label=NAMES[source], error_kw=error)
    for x, value, up in zip(at, values, above, strict=True):
        axes.annotate(
            _format.figure(value, 3), (x, value + up), (0, 3), textcoords="offset points", ha="center", fontsize=9
        )


def popularity(lorenz: Sequence[Json], bins: Sequence[Json], balance: dict[str, Json]) -> Plot | None:
    """Left: who gets shown, by how popular they are. Right: how unevenly, as Lorenz curves."""
    if not bins:
        return None

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        _popularity_bins(left, bins)
        (diagonal,) = right.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":")
        for measure, colour, dashes in (("recommended", BLUE, "-"), ("interactions", ORANGE, "--")):
            points = [row for row in lorenz if row["measure"] == measure]
            right.plot(
                [0.0, *(row["titles_share"] for row in points)],
                [0.0, *(row["amount_share"] for row in points)],
                color=colour,
                linestyle=dashes,
            )
        right.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of titles, least first", ylabel="share of the total")
        right.set_title("Concentration (Lorenz curves)")
        handles, labels = left.get_legend_handles_labels()
        order = [labels.index(label) for label in ("titles", "recommended rows", "interactions")]
        entries = [handles[place] for place in order]
        figure.legend(
            [*entries, diagonal],
            [*(labels[place] for place in order), "all titles alike"],
            loc="outside lower center",
            ncols=4,
        )

    gini = ", ".join(f"{name} {_format.figure(row['gini'], 3)}" for name, row in sorted(balance.items(), reverse=True))
    alt = "Share of titles, interactions and recommended rows by popularity of the title, and Lorenz curves."
    return plot(draw, 3.7, f"{alt} Gini coefficients: {gini}.")


def _popularity_bins(axes: Any, bins: Sequence[Json]) -> None:
    places = range(len(bins))
    axes.bar(places, [row["titles"] for row in bins], 0.8, color="#D5DAE0", label="titles")
    for measure, label, colour, marker, dashes in (
        ("interactions", "interactions", ORANGE, "s", "--"),
        ("recommended", "recommended rows", BLUE, "o", "-"),
    ):
        axes.plot(
            places, [row[measure] for row in bins], dashes, color=colour, marker=marker, markersize=4, label=label
        )
    step = -(-len(bins) // 8)  # at most eight labels fit
    axes.set_xticks(places[::step], ["0" if row["bin"] < 0 else _short(2 ** row["bin"]) for row in bins][::step])
    axes.set(xlabel="interactions of the title, from … (log scale)", ylabel="share")
    axes.set_ylim(bottom=0)
    axes.set_title("By popularity of the title")
    axes.grid(visible=False, axis="x")


def timings(seconds: dict[str, float]) -> Plot | None:
    """Horizontal bars, one per stage, in the order of the night."""
    if not seconds:
        return None

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        names = list(seconds)
        bars = axes.barh(names, list(seconds.values()), 0.7, color=BLUE)
        axes.bar_label(bars, [_format.duration(value) for value in seconds.values()], padding=4, fontsize=9)
        axes.invert_yaxis()
        axes.margins(x=0.12, y=0.02)
        axes.set_xlabel("seconds")
        axes.grid(visible=False, axis="y")

    spoken = ", ".join(f"{name} {_format.duration(value)}" for name, value in seconds.items())
    return plot(draw, 0.7 + 0.29 * len(seconds), f"Seconds per stage: {spoken}.")


def losses(curves: Sequence[Sequence[float]]) -> Plot | None:
    """The training loss of each part of the model over its epochs."""
    shown = [curve for curve in curves if len(curve) > 1][:_CURVES]
    if not shown:
        return None

    def draw(figure: Any) -> None:
        row = figure.subplots(1, len(shown), squeeze=False)[0]
        for place, (axes, curve) in enumerate(zip(row, shown, strict=True)):
            axes.plot(range(1, len(curve) + 1), curve, color=BLUE, linewidth=1.5)
            axes.set_title(f"Training loss, part {place + 1}" if len(shown) > 1 else "Training loss")
            axes.set_xlabel("epoch")
            axes.xaxis.get_major_locator().set_params(integer=True)

    spoken = "; ".join(f"from {_format.figure(curve[0])} to {_format.figure(curve[-1])}" for curve in shown)
    return plot(draw, 2.4, f"Training loss by epoch: {spoken}.")


def _short(number: int) -> str:
    """512, 1k, 16k, 1M: powers of two, rounded down."""
    for unit, name in ((2**20, "M"), (2**10, "k")):
        if number >= unit:
            return f"{number // unit}{name}"
    return str(number)


def plot(draw: Callable[[Any], None], height: float, alt: str) -> Plot:
    """Draws on a figure of the page's width and so many inches of height."""
    # Cache and font notes of Matplotlib are no news for an operator; under cron they would become a mail.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    import matplotlib.style
    from matplotlib.figure import Figure

    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue().replace(b"'DejaVu Sans'", _FONTS.encode())
    return Plot(svg, alt)
