"""Contenders on the same users and events: figures, paired differences, and the gate's verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from recbatch import metrics, schemas
from recbatch.config import Judge
from recbatch.contracts import NO_TIME, AuditResult, Dataset, Int32s, Lists, Metric
from recbatch.evaluate.gate import CHALLENGER, MODEL, PARENT, gate
from recbatch.evaluate.pairs import HeldOut, ranks_of
from recbatch.evaluate.segments import segments
from recbatch.metrics import Float64s

_CUT_OFFS = (10, 20, 100)
_COMPARED = (("ndcg", 10), ("recall", 20), ("recall", 100))
"""What differences are taken of, besides the gate's figure."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A contender's figure less a baseline's, over the same users and the same resamples of them."""

    metric: str
    k: int
    segment: str
    contender: str
    baseline: str
    value: float
    ci_low: float
    """Lower end of the paired 95 % bootstrap interval."""
    ci_high: float
    users: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured: rows of `metrics` and `holdout`, the gate's verdict, and differences."""

    metrics: tuple[Metric, ...]
    holdout: pa.Table
    gate: tuple[AuditResult, ...]
    differences: tuple[Difference, ...] = ()
    """The judged model against every other contender."""

    @property
    def failed(self) -> tuple[AuditResult, ...]:
        """The gate's rules of severity error that did not hold."""
        return tuple(result for result in self.gate if result.severity == "error" and not result.passed)

    def after(self, challenger: Outcome) -> Outcome:
        """This outcome with that of a challenger that failed before it on record: as `challenger`, as warnings."""
        renamed = tuple(replace(row, source=CHALLENGER) for row in challenger.metrics if row.source == MODEL)
        warnings = tuple(
            replace(result, check=f"{CHALLENGER}_{result.check}", severity="warn") for result in challenger.failed
        )
        # What stood beside it as the parent's model is the model of this outcome.
        differences = tuple(
            replace(row, contender=CHALLENGER, baseline=MODEL if row.baseline == PARENT else row.baseline)
            for row in challenger.differences
        )
        return replace(
            self,
            metrics=self.metrics + renamed,
            gate=self.gate + warnings,
            differences=self.differences + differences,
        )


def measure(
    contenders: Mapping[str, Lists], pairs: HeldOut, data: Dataset, settings: Judge, *, protocol: str, seed: int
) -> Outcome:
    """Judges the contenders on the same users and events, cold users included.

    Args:
        contenders: lists by name, for `pairs.users` in this order; `MODEL` and `POPULAR`, and `PARENT` where there is
            one of its own.
        pairs: what was held out.
        data: names the positions.
        settings: metric, cut-off and tolerance of the gate.
        protocol: how the events were held out.
        seed: of the bootstrap.

    Returns:
        Metrics and differences by segment, see `segments.segments`; the held-out events with their rank in the model's
        list; the gate's verdict.

    Raises:
        ConfigError: a floor names no user feature of this source.
    """
    ranks = {name: ranks_of(pairs, lists) for name, lists in contenders.items()}
    sources = _sources_of(pairs, ranks[MODEL], contenders[MODEL])
    figures = _per_user(ranks, pairs, settings)
    rows: list[Metric] = []
    differences: list[Difference] = []
    for segment, mask in segments(pairs, contenders[MODEL], data, settings.segment_floors).items():
        found = _intervals({name: values[mask] for name, values in figures.items()}, settings, seed)
        for (metric, k, source, baseline), (value, low, high) in found.items():
            common = {"metric": metric, "k": k, "segment": segment, "users": int(mask.sum())}
            common |= {"value": value, "ci_low": low, "ci_high": high}
            if baseline is None:
                rows.append(Metric(**common, source=source, protocol=protocol))  # type: ignore[arg-type]
            else:
                differences.append(Difference(**common, contender=source, baseline=baseline))  # type: ignore[arg-type]
    verdict = gate(ranks, pairs, data, settings, seed)
    return Outcome(tuple(rows), _holdout_table(pairs, ranks[MODEL], sources, data), verdict, tuple(differences))


_Figure = tuple[str, int, str, str | None]
"""metric, k, contender, and whose figure is taken off it, none for nobody's."""


def _per_user(ranks: Mapping[str, Int32s], pairs: HeldOut, settings: Judge) -> dict[_Figure, Float64s]:
    """Every figure of every contender, then the model's differences; each of shape (judged,)."""
    found: dict[_Figure, Float64s] = {}
    for source, source_ranks in ranks.items():
        for metric, per_user in metrics.PER_USER.items():
            for k in (k for k in _CUT_OFFS if k <= settings.list_length):
                found[metric, k, source, None] = per_user(source_ranks, pairs.user_of, len(pairs.users), k)
    for metric, k in dict.fromkeys(((settings.metric, settings.metric_k), *_COMPARED)):
        if (metric, k, MODEL, None) in found:
            for baseline in (name for name in ranks if name != MODEL):
                ours, theirs = (found[metric, k, name, None] for name in (MODEL, baseline))
                found[metric, k, MODEL, baseline] = ours - theirs
    return found


def _intervals(
    figures: Mapping[_Figure, Float64s], settings: Judge, seed: int
) -> dict[_Figure, tuple[float, float, float]]:
    """Mean and ends of the 95 % interval of each figure; all share their resamples."""
    values = np.stack(list(figures.values()), axis=1)
    low, high = metrics.bootstrap_intervals(values, settings.bootstrap_samples, seed)
    means = values.mean(axis=0)
    return {name: (float(means[place]), float(low[place]), float(high[place])) for place, name in enumerate(figures)}


def _sources_of(pairs: HeldOut, ranks: Int32s, lists: Lists) -> pa.Array:
    """Where the row of each pair's rank came from; null without a rank."""
    found = lists.sources[pairs.user_of, np.maximum(ranks, 1) - 1]
    return pa.array(schemas.SOURCES).take(pa.array(found, mask=ranks == 0))


def _holdout_table(pairs: HeldOut, ranks: Int32s, sources: pa.Array, data: Dataset) -> pa.Table:
    table = pa.table(
        {
            "user_id": data.user_ids.take(pa.array(pairs.users[pairs.user_of])),
            "item_id": data.item_ids.take(pa.array(pairs.items)),
            "occurred_at": pa.array(pairs.occurred_at, mask=pairs.occurred_at == NO_TIME).cast(pa.timestamp("us")),
            "rank": pa.array(ranks, mask=ranks == 0),
            "source": sources,
        },
        schema=schemas.arrow(schemas.HOLDOUT),
    )
    return table.sort_by([("user_id", "ascending"), ("item_id", "ascending")])


def nothing_judged(reason: str) -> Outcome:
    """The outcome of a night on which no one can be judged."""
    verdict = AuditResult("gate_judged", "warn", passed=False, observed="0 users to judge", detail=reason)
    return Outcome((), schemas.arrow(schemas.HOLDOUT).empty_table(), (verdict,))


def metrics_table(rows: Sequence[Metric]) -> pa.Table:
    """The table `metrics`, sorted by its key."""
    names = schemas.METRICS.column_names
    table = pa.table(
        {name: [getattr(row, name) for row in rows] for name in names}, schema=schemas.arrow(schemas.METRICS)
    )
    return table.sort_by([(name, "ascending") for name in schemas.METRICS.sorted_by])
