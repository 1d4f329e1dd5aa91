"""How good tonight's judged model is on the events it was not shown, and whether it may replace what readers have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from recbatch import metrics, schemas
from recbatch.config import Judge
from recbatch.contracts import (
    NO_ITEM,
    NO_TIME,
    AuditResult,
    Bools,
    Dataset,
    Events,
    Int32s,
    Int64s,
    Lists,
    Metric,
    Split,
)

MODEL, PARENT, POPULAR, CHALLENGER = "model", "parent", "popular", "challenger"
"""Whose lists are judged: tonight's, those of the run before, those that need no model, and those that failed."""

_CUT_OFFS = (10, 20, 100)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What judged users went on to do: distinct (user, item) pairs by user."""

    users: Int32s
    """Shape (judged,): user positions, ascending."""
    user_of: Int32s
    """Shape (pairs,): index into `users`."""
    items: Int32s
    """Shape (pairs,): item positions."""
    occurred_at: Int64s
    """Shape (pairs,): microseconds, or NO_TIME."""
    warm: Bools
    """Shape (judged,): whether the user has a history to go by."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured: rows of `metrics` and `holdout`, and the gate's verdict."""

    metrics: tuple[Metric, ...]
    holdout: pa.Table
    gate: tuple[AuditResult, ...]

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
        return replace(self, metrics=self.metrics + renamed, gate=self.gate + warnings)


def held_out(split: Split, *, keep_seen: bool) -> HeldOut:
    """The pairs that a list can be judged on.

    A repeated event counts once. Where seen titles are never recommended, an event on a seen title is no pair: no list
    could hold it, and the baselines could not either.
    """
    test = split.test
    user_of_event = test.users_of_events().astype(np.int64)
    width = max(int(test.items.max(initial=0)), int(split.train.items.max(initial=0))) + 1
    keys, first = np.unique(user_of_event * width + test.items, return_index=True)
    if not keep_seen:
        unseen = ~np.isin(keys, _keys(split.train, width))
        keys, first = keys[unseen], first[unseen]
    users, user_of = np.unique(keys // width, return_inverse=True)
    return HeldOut(
        users=users.astype(np.int32),
        user_of=user_of.astype(np.int32),
        items=(keys % width).astype(np.int32),
        occurred_at=test.occurred_at[first],
        warm=split.train.counts[users] > 0,
    )


def _keys(events: Events, width: int) -> Int64s:
    return events.users_of_events().astype(np.int64) * width + events.items


def ranks_of(pairs: HeldOut, lists: Lists) -> Int32s:
    """The 1-based rank of each pair in its user's list, 0 where it is not in it; `lists.users` equals `pairs.users`."""
    row, column = np.nonzero(lists.positions != NO_ITEM)
    width = max(int(lists.positions.max(initial=0)), int(pairs.items.max(initial=0))) + 1
    listed = row.astype(np.int64) * width + lists.positions[row, column]
    order = np.argsort(listed)
    wanted = pairs.user_of.astype(np.int64) * width + pairs.items
    if len(listed) == 0:
        return np.zeros(len(wanted), dtype=np.int32)
    place = np.minimum(np.searchsorted(listed[order], wanted), len(listed) - 1)
    found = order[place]
    return np.where(listed[found] == wanted, column[found] + 1, 0).astype(np.int32)


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
        Metrics for the segments all, status=warm and status=cold; the held-out events with their rank in the model's
        list; the gate's verdict.
    """
    ranks = {name: ranks_of(pairs, lists) for name, lists in contenders.items()}
    sources = _sources_of(pairs, ranks[MODEL], contenders[MODEL])
    rows: list[Metric] = []
    for segment, mask in _segments(pairs).items():
        if mask.any():
            rows += _measure_segment(ranks, pairs, mask, settings, segment=segment, protocol=protocol, seed=seed)
    verdict = _gate(ranks, pairs, settings, seed)
    return Outcome(tuple(rows), _holdout_table(pairs, ranks[MODEL], sources, data), verdict)


def _segments(pairs: HeldOut) -> dict[str, Bools]:
    return {"all": np.ones(len(pairs.users), dtype=np.bool_), "status=warm": pairs.warm, "status=cold": ~pairs.warm}


def _measure_segment(
    ranks: Mapping[str, Int32s],
    pairs: HeldOut,
    mask: Bools,
    settings: Judge,
    *,
    segment: str,
    protocol: str,
    seed: int,
) -> list[Metric]:
    names, columns = [], []
    for source, source_ranks in ranks.items():
        for metric, per_user in metrics.PER_USER.items():
            for k in (k for k in _CUT_OFFS if k <= settings.list_length):
                names.append((metric, k, source))
                columns.append(per_user(source_ranks, pairs.user_of, len(pairs.users), k)[mask])
    values = np.stack(columns, axis=1)
    low, high = metrics.bootstrap_intervals(values, settings.bootstrap_samples, seed)
    means = values.mean(axis=0)
    return [
        Metric(
            metric=metric,
            k=k,
            segment=segment,
            source=source,
            protocol=protocol,
            value=float(means[place]),
            # The percentile of a constant may differ from its mean in the last bit.
            ci_low=float(min(low[place], means[place])),
            ci_high=float(max(high[place], means[place])),
            users=int(mask.sum()),
        )
        for place, (metric, k, source) in enumerate(names)
    ]


def _gate(ranks: Mapping[str, Int32s], pairs: HeldOut, settings: Judge, seed: int) -> tuple[AuditResult, ...]:
    """The model must not be worse than a baseline by more than chance and `max_drop` explain."""
    users = len(pairs.users)
    enough = users >= settings.users_needed
    judged = AuditResult(
        check="gate_judged",
        severity="warn",
        passed=enough,
        observed=f"{users} users to judge",
        expected=f"at least {settings.users_needed}",
        detail=None if enough else "published as not judged: too few users with new events",
    )
    if not enough:
        return (judged,)
    label = f"{settings.metric}@{settings.metric_k}"
    per_user = {
        name: metrics.PER_USER[settings.metric](own, pairs.user_of, users, settings.metric_k)
        for name, own in ranks.items()
    }
    results = [judged]
    for baseline in (name for name in (POPULAR, PARENT) if name in per_user):
        floor = (1 - settings.max_drop) * per_user[baseline]
        _, high = metrics.bootstrap_intervals((per_user[MODEL] - floor)[:, None], settings.bootstrap_samples, seed)
        ours, theirs = per_user[MODEL].mean(), per_user[baseline].mean()
        results.append(
            AuditResult(
                check=f"gate_not_worse_than_{baseline}",
                severity="error",
                passed=bool(high[0] >= 0),
                observed=f"{label} {ours:.4f} on {users} users",
                expected=f"at least {baseline}'s {theirs:.4f} less {settings.max_drop:.0%}, as far as chance explains",
                detail=f"difference {ours - theirs:+.4f}, upper end of its paired 95 % interval {high[0]:+.4f}",
            )
        )
    return tuple(results)


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
