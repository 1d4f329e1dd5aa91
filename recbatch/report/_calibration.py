"""The index's calibration curve: recall against speed of every setting that was measured."""

from __future__ import annotations

from typing import Any

from recbatch.contracts import Json
from recbatch.report import _format, _plots
from recbatch.report._plots import BLUE, GREEN, GREY, INK, ORANGE, Plot

_LOOKS = ((BLUE, "o", "-"), (ORANGE, "s", "--"), (GREEN, "D", ":"), (GREY, "^", "-."))


def _speed(value: float, _place: int) -> str:
    return _format.count(round(value))


def curve(calibration: Json | None, target: float | None) -> Plot | None:
    """Users per second over recall, a line per engine; none where nothing was measured.

    Args:
        calibration: of the lists: engine, effort and trials (engine, effort, recall, users_per_second).
        target: recall that the certificate demands.
    """
    measured = (calibration or {}).get("trials") or []
    trials = [t for t in measured if _format.finite(t["recall"]) and _format.finite(t["users_per_second"])]
    if not calibration or not trials:
        return None
    engines = sorted({trial["engine"] for trial in trials})
    choice = (calibration["engine"], calibration["effort"])
    chosen = [trial for trial in trials if (trial["engine"], trial["effort"]) == choice]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for number, engine in enumerate(engines):
            rows = sorted((t for t in trials if t["engine"] == engine), key=lambda trial: trial["effort"])
            colour, marker, dashes = _LOOKS[number % len(_LOOKS)]
            at, speeds = [t["recall"] for t in rows], [t["users_per_second"] for t in rows]
            axes.plot(at, speeds, dashes, color=colour, marker=marker, markersize=5, label=engine)
        for trial in chosen:
            ring = {"s": 130, "facecolors": "none", "edgecolors": INK, "linewidths": 1.5}
            axes.scatter([trial["recall"]], [trial["users_per_second"]], label="chosen", zorder=3, **ring)
        if _format.finite(target):
            axes.axvline(target, color=GREY, linestyle=":", linewidth=1.2, label="target")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_speed)
        axes.yaxis.set_minor_formatter(_speed)
        axes.set(xlabel="recall against exact search", ylabel="users per second (log scale)")
        figure.legend(loc="outside upper left", ncols=6)

    spoken = "; ".join(
        f"{t['engine']} effort {t['effort']}: recall {_format.figure(t['recall'])},"
        f" {_format.count(round(t['users_per_second']))} users/s"
        for t in trials
    )
    told = f"Chosen: {choice[0]}, effort {choice[1]}."
    return _plots.plot(draw, 3.2, f"Recall against users per second of each setting measured. {spoken}. {told}")
