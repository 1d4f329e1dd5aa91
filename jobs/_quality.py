"""Quality by full ranking: recbatch and its peers on the same splits, users and candidates.

Nothing is sampled and nobody dropped: every candidate is ranked, titles already seen are excluded, users without a
history get what each contender has for them. What a contender may choose is chosen within what it may learn from.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial

import numpy as np
import pyarrow.compute as pc

from recbatch import dataset, evaluate, metrics, score, sources, split, train
from recbatch.config import Config
from recbatch.contracts import NO_TIME, Dataset, Events, Int32s, Lists, Progress, Split, no_progress
from recbatch.evaluate import HeldOut
from recbatch.metrics import Float64s
from recbatch.score import Ranker

from ._judge import exact_ranker
from ._model import Judged
from ._peers import GRIDS, Settings, Workshop, choose, rank
from ._say import now

Counted = dict[str, int | float | str]
"""What was counted and chosen, by name."""

OURS = "recbatch"
LENGTH = 100
"""Ranks looked at."""
_TIMELESS: Settings = {"fashion": 0}
_FASHIONS: tuple[Settings, ...] = ({"fashion": 1}, _TIMELESS, *GRIDS["recent"])
"""What the biases may follow: fashion as on every night, the popularity of all times, or one of the half-lives that the
peer may choose from, as `popular.overall_half_life_days`."""
_HELD_OUT = 0.2
_SAMPLE_UNTIL = date(2020, 7, 1)
"""The generated world has no last event: this is the end of it where none is given."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """How events are held out and what is measured; see the names in `PROTOCOLS`."""

    cut: Callable[[Events, int], Split]
    """From events and seed to a split."""
    figures: tuple[tuple[str, int], ...]
    """(metric, k); `acc` is over held-out pairs, others are per user."""
    chosen_by: str
    """The figure that picks a peer's settings."""


PROTOCOLS = {
    "R": Protocol(
        lambda events, seed: split.at_random(events, share=_HELD_OUT, seed=seed),
        (("acc", 1), ("acc", 5), ("acc", 10), ("acc", 50), ("acc", 100)),
        "acc_at_10",
    ),
    "U": Protocol(
        lambda events, seed: split.per_user(events, share=1 - _HELD_OUT),
        (("recall", 20), ("ndcg", 10), ("acc", 10), ("acc", 100)),
        "ndcg_at_10",
    ),
}
"""R: a random fifth of all events. U: the last fifth of each user's. N is `jobs.backtest`."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One contender on one split."""

    values: dict[str, Float64s]
    """Figure → one value per user or pair, in the same order for every contender."""
    seconds: float
    """Training and ranking, with the settings that were chosen."""
    settings: Settings
    """What was chosen from the grid."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every contender on every split, and what was counted."""

    protocol: str
    splits: tuple[dict[str, Measured], ...]
    """Contender → what it reached, recbatch first."""
    counted: Counted
    notes: tuple[str, ...]


def read_all(config: Config, until: date | None, progress: Progress = no_progress) -> Dataset:
    """All events before a date, or to the last one; the dataset's run date is the day after.

    Raises:
        RecbatchError: see `sources.read` and `dataset.build`.
    """
    endless = config.source.uri.partition(":")[0] == "sample"
    before = until or (_SAMPLE_UNTIL if endless else now().date() + timedelta(days=1))
    tables = sources.read(config.source, before=before, today=now().date(), progress=progress)
    last = pc.max(tables.interactions["occurred_at"]).as_py()
    run_date = until or (before if endless or last is None else last.date() + timedelta(days=1))
    return dataset.build(tables, config.dataset, run_date, merge_by_title=config.source.merge_by_title)


def compare(
    data: Dataset,
    config: Config,
    *,
    protocol: str,
    peers: Sequence[str],
    seeds: int,
    progress: Progress = no_progress,
) -> Comparison:
    """Judges recbatch and its peers under protocol R or U.

    Args:
        data: everything.
        config: settings of recbatch; `seed` is the first seed.
        protocol: a key of `PROTOCOLS`.
        peers: keys of `_peers.GRIDS`. Everybody's settings are chosen on the train part of the first split, cut in two
            by the protocol itself, and kept for the others.
        seeds: how many splits; under U the split is always the same, and only chance in training changes.
        progress: called when a contender is done.

    Returns:
        What each contender reached on each split.
    """
    rules, splits = PROTOCOLS[protocol], []
    counted: Counted = {"users": data.num_users, "items": data.num_items}
    chosen = _choose_all(peers, data, config, rules, counted, progress)
    for number in range(seeds):
        seed = config.seed + number
        parts = rules.cut(data.events, seed)
        pairs = evaluate.held_out(parts, keep_seen=False)
        splits.append({OURS: _measure_ours(parts, pairs, data, config, rules, seed, chosen[OURS], counted)})
        workshop = Workshop(parts.train, data.num_items)
        for name in peers:
            splits[-1][name] = _measure_peer(name, workshop, chosen[name], parts, pairs, rules, seed)
        if number == 0:
            counted |= _counted(pairs, data)
        progress("splits", number + 1, seeds)
    return Comparison(protocol, tuple(splits), counted | {"splits": seeds}, _NOTES[protocol])


_OUR_CHOICE = (
    "recbatch's only choice is what fashion its biases follow, since events of all dates are held out: that of tonight,"
    " as they do every night, none, or popularity of a half-life of the peer `recent`"
)
_NOTES = {
    "R": (
        "a random fifth of all events is held out, anew for every seed; acc@k is over distinct unseen pairs",
        "settings: the best acc@10 on a random fifth of the first split's train part; " + _OUR_CHOICE,
    ),
    "U": (
        "the last fifth of each user's events is held out; seeds change training only",
        "settings: the best ndcg@10 on the last fifth of each user's train part; " + _OUR_CHOICE,
    ),
}


def _counted(pairs: HeldOut, data: Dataset) -> Counted:
    """Of the first split."""
    return {
        "judged_users": len(pairs.users),
        "judged_pairs": len(pairs.items),
        "cold_users": int((~pairs.warm).sum()),
        "users_without_held_out": data.num_users - len(pairs.users),
    }


def our_ranker(data: Dataset, learned_from: Events, fitted: train.Fitted, config: Config) -> Ranker:
    """The whole published ladder over exact search: the model, then segment and overall popularity.

    Args:
        data: its events are the histories to serve, all before its run date.
        learned_from: what the towers were trained on.
        fitted: the trained towers.
        config: settings of popularity.
    """
    popular = score.by_popularity(data, data.events, data.run_date, config.popular)
    return exact_ranker(Judged(fitted.towers, learned_from), data, popular, keep_seen=False)


def ranked_by(ranker: Ranker, events: Events, users: Int32s) -> Lists:
    """Lists of `LENGTH` for some users."""
    return ranker.rank(events, users, LENGTH, with_reasons=False)


def _choose_all(
    peers: Sequence[str], data: Dataset, config: Config, rules: Protocol, counted: Counted, progress: Progress
) -> dict[str, Settings]:
    """Everybody's settings, by the protocol applied once more to the train part of the first split."""
    learnt = rules.cut(data.events, config.seed).train
    parts = rules.cut(learnt, config.seed)
    pairs = evaluate.held_out(parts, keep_seen=False)
    workshop = Workshop(parts.train, data.num_items)
    chosen = {OURS: _choose_ours(parts, pairs, data, config, rules, counted)}
    for place, name in enumerate(peers):
        began = time.monotonic()
        chosen[name] = choose(name, partial(_quality_of, name, workshop, parts, pairs, rules, config.seed))
        counted[f"{name}_choosing_seconds"] = time.monotonic() - began
        progress("choose", place + 1, len(peers))
    return chosen


def _quality_of(
    name: str, workshop: Workshop, parts: Split, pairs: HeldOut, rules: Protocol, seed: int, settings: Settings
) -> float:
    measured = _measure_peer(name, workshop, settings, parts, pairs, rules, seed)
    return _mean(measured.values[rules.chosen_by])


def _mean(values: Float64s) -> float:
    return float(values.mean()) if len(values) else 0.0


def _choose_ours(
    parts: Split, pairs: HeldOut, data: Dataset, config: Config, rules: Protocol, counted: Counted
) -> Settings:
    """What fashion the biases follow; there is none to follow where no event has a time."""
    if not data.has_times:
        return dict(_TIMELESS)
    fitted = train.fit(parts.train, replace(data, events=parts.train), config.train, config.seed)
    reached = []
    for settings in _FASHIONS:
        lists = _rank_ours(fitted, parts, pairs, data, config, settings)
        reached.append(_mean(figures(lists, pairs, rules.figures)[rules.chosen_by]))
        said = "_".join(f"{name}_{value:g}" for name, value in settings.items())
        counted[f"{OURS}_choosing_{rules.chosen_by}_{said}"] = reached[-1]
    return _FASHIONS[int(np.argmax(reached))]


def _rank_ours(
    fitted: train.Fitted, parts: Split, pairs: HeldOut, data: Dataset, config: Config, settings: Settings
) -> Lists:
    known = _timeless(parts.train) if settings == _TIMELESS else parts.train
    followed = {"overall_half_life_days": settings.get("half_life_days")}
    config = config.model_copy(update={"popular": config.popular.model_copy(update=followed)})
    ranker = our_ranker(replace(data, events=known), known, fitted, config)
    return ranked_by(ranker, parts.train, pairs.users)


def _timeless(events: Events) -> Events:
    return replace(events, occurred_at=np.full_like(events.occurred_at, NO_TIME))


def _measure_ours(
    parts: Split,
    pairs: HeldOut,
    data: Dataset,
    config: Config,
    rules: Protocol,
    seed: int,
    settings: Settings,
    counted: Counted,
) -> Measured:
    began = time.monotonic()
    fitted = train.fit(parts.train, replace(data, events=parts.train), config.train, seed)
    counted |= {"objective": fitted.objective, "embedding_dim": config.train.embedding_dim}
    lists = _rank_ours(fitted, parts, pairs, data, config, settings)
    return Measured(figures(lists, pairs, rules.figures), time.monotonic() - began, settings)


def _measure_peer(
    name: str, workshop: Workshop, settings: Settings, parts: Split, pairs: HeldOut, rules: Protocol, seed: int
) -> Measured:
    began = time.monotonic()
    lists = rank(workshop.fit(name, settings, seed), parts.train, pairs.users, LENGTH)
    return Measured(figures(lists, pairs, rules.figures), time.monotonic() - began, settings)


def figures(lists: Lists, pairs: HeldOut, wanted: Sequence[tuple[str, int]]) -> dict[str, Float64s]:
    """`metric_at_k` → shape (users,), or (pairs,) for `acc`."""
    ranks = evaluate.ranks_of(pairs, lists)
    return {f"{metric}_at_{k}": _figure(metric, k, ranks, pairs) for metric, k in wanted}


def _figure(metric: str, k: int, ranks: Int32s, pairs: HeldOut) -> Float64s:
    if metric == "acc":
        return ((ranks > 0) & (ranks <= k)).astype(np.float64)
    return metrics.PER_USER[metric](ranks, pairs.user_of, len(pairs.users), k)
