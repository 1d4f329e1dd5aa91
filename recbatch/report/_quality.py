"""The model against its baselines: which figures are shown, and the sentence that sums them up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recbatch.contracts import Json
from recbatch.report import _format

NAMES = {
    "model": "Model",
    "parent": "Champion (parent run)",
    "challenger": "Challenger (failed)",
    "popular": "Popularity",
}
"""Whose lists were judged, in the order in which they are shown."""
_BASELINES = ("popular", "parent", "challenger")

_SHOWN = (("ndcg", 10), ("recall", 20), ("recall", 100))
_RATINGS = "rmse"
_SEGMENTS = ("all", "status=warm", "status=cold")


@dataclass(frozen=True, slots=True)
class Quality:
    """The judged figures of one protocol."""

    protocol: str | None
    figures: dict[tuple[str, int, str, str], Json]
    """(metric, k, segment, source) → row of `metrics`."""
    shown: tuple[tuple[str, int], ...]
    """(metric, k) in the order in which they are shown."""
    differences: dict[tuple[str, int, str, str], Json]
    """(metric, k, segment, baseline) → how far the model lies above it, with its paired interval."""

    @property
    def sources(self) -> list[str]:
        """Those that were judged, in the order in which they are shown."""
        return _present(NAMES, {source for _, _, _, source in self.figures})

    @property
    def segments(self) -> list[str]:
        """Those that were judged: all first."""
        return _present(_SEGMENTS, {segment for _, _, segment, _ in self.figures})

    @property
    def baselines(self) -> list[str]:
        """Whom the model is compared with, user by user."""
        return _present(_BASELINES, {baseline for _, _, _, baseline in self.differences})

    def difference(self, metric: str, k: int, segment: str, baseline: str) -> Json | None:
        """How far the model lies above a baseline, if it was measured."""
        return self.differences.get((metric, k, segment, baseline))

    def row(self, metric: str, k: int, segment: str, source: str) -> Json | None:
        """A row of `metrics`, if it was measured."""
        return self.figures.get((metric, k, segment, source))


def choose(metrics: list[Json], head: Json) -> Quality:
    """The figures of the night's protocol, and which of them to show.

    Args:
        metrics: rows of the table `metrics`.
        head: may name the protocol and the gate's metric.
    """
    protocols = sorted({row["protocol"] for row in metrics})
    named = head.get("judge_protocol")
    protocol = named if named in protocols else next(iter(protocols), None)
    figures = {
        (row["metric"], row["k"], row["segment"], row["source"]): row
        for row in metrics
        if row["protocol"] == protocol and _sound(row)
    }
    measured = {(metric, k) for metric, k, segment, _ in figures if segment == "all"}
    judge = (head.get("config") or {}).get("judge") or {}
    gate = (judge.get("metric", "ndcg"), judge.get("metric_k", 10))
    wanted = [gate, *(pair for pair in _SHOWN if pair != gate)]
    lists = {pair for pair in measured if pair[0] != _RATINGS}
    shown = [pair for pair in wanted if pair in lists] or sorted(lists)[:3]
    return Quality(protocol, figures, tuple(shown), _differences(head))


def _differences(head: Json) -> dict[tuple[str, int, str, str], Json]:
    """The model's differences; that of a failed challenger to the model is turned round, so that all read alike."""
    found = {}
    for row in head.get("differences") or []:
        if not _sound(row):
            continue
        key = (row["metric"], row["k"], row["segment"])
        if row["contender"] == "model":
            found[*key, row["baseline"]] = row
        elif row["baseline"] == "model":
            turned = {"value": -row["value"], "ci_low": -row["ci_high"], "ci_high": -row["ci_low"]}
            found[*key, row["contender"]] = row | turned
    return found


def comparison(quality: Quality) -> str | None:
    """The model against popularity and parent in plain words; none where no one was judged."""
    if not quality.shown:
        return None
    metric, k = quality.shown[0]
    model = quality.row(metric, k, "all", "model")
    popular = quality.row(metric, k, "all", "popular")
    if model is None or popular is None:
        return None
    sentence = f"{_verdict(model, popular)}: {metric}@{k} {_against(model, popular)}{_chance(quality, metric, k)}."
    parent = quality.row(metric, k, "all", "parent")
    if parent is not None:
        sentence += f" Against its parent: {_against(model, parent)}."
    return sentence


def ratings(quality: Quality) -> str | None:
    """How well ratings are predicted; none where the model has learned none."""
    rows = {source: quality.row(_RATINGS, 0, "all", source) for source in ("model", "parent", "popular")}
    said = [
        f"{'the mean rating' if source == 'popular' else NAMES[source].lower()} {_format.figure(row['value'], 3)}"
        f" ({_format.figure(row['ci_low'], 3)} to {_format.figure(row['ci_high'], 3)})"
        for source, row in rows.items()
        if row
    ]
    return f"Ratings of held-out events, root mean squared error: {', '.join(said)}." if rows["model"] else None


def headline(quality: Quality, head: Json, audits: Iterable[Json]) -> str:
    """One or two plain sentences: what readers got, and how good it is."""
    sentence = comparison(quality) or _not_judged(audits)
    if "model_id" in head and head["model_id"] is None:
        return f"Popularity only: no model stands behind these lists. {sentence}"
    return sentence


def _verdict(model: Json, popular: Json) -> str:
    if model["value"] > popular["value"]:
        return "Model beats popularity"
    return "Model equals popularity" if model["value"] == popular["value"] else "Model falls behind popularity"


def _against(ours: Json, theirs: Json) -> str:
    figures = f"{_format.figure(ours['value'], 3)} vs {_format.figure(theirs['value'], 3)}"
    change = _format.change(ours["value"], theirs["value"])
    return figures if change == _format.DASH else f"{figures}, {change}"


def _chance(quality: Quality, metric: str, k: int) -> str:
    """A remark where the difference may be chance, by its paired interval; by both intervals where there is none."""
    paired = quality.difference(metric, k, "all", "popular")
    if paired is not None:
        return "" if paired["ci_low"] > 0 or paired["ci_high"] < 0 else " (no more than chance explains)"
    model, popular = (quality.row(metric, k, "all", source) for source in ("model", "popular"))
    if model is None or popular is None or model["ci_low"] > popular["ci_high"] or model["ci_high"] < popular["ci_low"]:
        return ""
    return " (their 95 % intervals overlap)"


def _not_judged(audits: Iterable[Json]) -> str:
    gate = next((row for row in audits if row["check"] == "gate_judged"), None)
    why = gate and (gate["detail"] or gate["observed"])
    return f"Not judged: {_format.text(why)}." if why else "Not judged: no metrics were measured for this run."


def _sound(row: Json) -> bool:
    return all(_format.finite(row[name]) for name in ("value", "ci_low", "ci_high"))


def _present(order: Iterable[str], names: set[str]) -> list[str]:
    known = [name for name in order if name in names]
    return known + sorted(names.difference(known))
