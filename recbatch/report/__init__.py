"""STAGE report: one self-contained page about one run, for whoever operates it or works with its lists.

No script, nothing loaded from elsewhere, plots inlined. It is a function of the run's tables and the manifest's head:
equal input gives equal bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import duckdb
import jinja2

from recbatch import store
from recbatch.contracts import Json
from recbatch.report import _calibration, _facts, _format, _plots, _quality, _trend

FILE_NAME = "report.html"


def write(folder: Path, con: duckdb.DuckDBPyConnection, head: Json, past: Sequence[Json] = ()) -> Path:
    """Writes `report.html` about a run.

    Args:
        folder: of the run, staged and not yet sealed.
        con: holds the readers' views of this one run: recommendations, popular, users, items, metrics, audits and
            quarantine.
        head: of the manifest; every key may be missing.
        past: earlier runs, oldest first: run_id, status, metric, model, popular, realised, days, horizons.

    Returns:
        The file's path.

    Raises:
        duckdb.Error: a view is missing.
        OSError: the file system refuses.
    """
    path = folder / FILE_NAME
    store.write_bytes(path, render(con, head, past).encode())
    return path


def render(con: duckdb.DuckDBPyConnection, head: Json, past: Sequence[Json] = ()) -> str:
    """The page's HTML; arguments as in `write`."""
    judge = (head.get("config") or {}).get("judge") or {}
    metric, k = judge.get("metric", "ndcg"), judge.get("metric_k", 10)
    facts = _facts.gather(con, metric, k)
    quality = _quality.choose(facts.metrics, head)
    return _template().render(
        head=head,
        facts=facts,
        past=past,
        gate=f"{metric}@{k}",
        quality=quality,
        names=_quality.NAMES,
        headline=_quality.headline(quality, head, facts.audits),
        ratings=_quality.ratings(quality),
        failed=[row for row in facts.audits if not row["passed"]],
        curves=_curves(head),
        plots={
            "quality": _plots.quality(quality),
            "past": _trend.plot([*past, _tonight(head, quality)], f"{metric}@{k}"),
            "popularity": _plots.popularity(facts.lorenz, facts.bins, facts.balance),
            "calibration": _calibration.curve(
                (head.get("calibration") or {}).get("lists"), (head.get("certificate") or {}).get("target")
            ),
            "losses": _plots.losses(_curves(head)),
            "timings": _plots.timings(head.get("seconds") or {}),
        },
    )


def trend_svg(past: Sequence[Json]) -> bytes | None:
    """The plot of how runs developed, as SVG; none with fewer than two points.

    Args:
        past: runs, oldest first: run_id, metric, model, popular, horizons (days as text → realised value).
    """
    drawn = _trend.plot(past, past[-1]["metric"]) if past else None
    return drawn.svg if drawn else None


def _tonight(head: Json, quality: _quality.Quality) -> Json:
    """The run itself as a row of `past`; nothing was realised yet."""
    rows = {s: quality.row(*quality.shown[0], "all", s) for s in ("model", "popular")} if quality.shown else {}
    return {"run_id": head.get("run_id"), **{source: row["value"] for source, row in rows.items() if row}}


def _curves(head: Json) -> list[list[float]]:
    """The training losses, one list per part of the model; a single curve counts as one part."""
    losses = (head.get("train") or {}).get("losses") or []
    return [list(losses)] if losses and not isinstance(losses[0], list | tuple) else [list(curve) for curve in losses]


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= _format.FILTERS | {"change": _format.change}
    return environment.from_string(resources.files("recbatch.report").joinpath("template.html").read_text("utf-8"))
