"""What each rule of the night costs: every list with all rules against the same list without that one.

Rows are counted on a sample of tonight's users with the served weights, the effect is measured on held-out days with
the judged ones; both search exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa

from recbatch import evaluate, metrics, schemas, score
from recbatch.config import Config
from recbatch.contracts import NO_ITEM, Dataset, Events, Int32s, Lists, Towers
from recbatch.rules import Rules
from recbatch.score import Ranker

from ._force import ranker_of
from ._model import Model
from ._rules import RuleBook

_USERS = 2_000
"""Users at most, both times."""
_K = 10
"""The effect is measured by ndcg@10."""


@dataclass(frozen=True, slots=True)
class Price:
    """One rule's; a row of `schemas.RULES`."""

    rule: str
    setting: str
    users: int
    rows_removed: int
    users_shortened: int
    metric: str
    k: int
    judged_users: int
    effect: float | None
    ci_low: float | None
    ci_high: float | None


def prices(book: RuleBook, model: Model | None, data: Dataset, config: Config) -> list[Price]:
    """The price of each active rule, by name; nothing is ranked where there are none.

    Args:
        book: tonight's rules.
        model: tonight's; none: lists by popularity only.
        data: tonight's.
        config: settings.
    """
    if not book.active:
        return []
    rows, effects = _rows(book, model, data, config), _effects(book, model, data, config)
    return [
        Price(name, book.setting(name), *rows[name], "ndcg", _K, *effects.get(name, (0, None, None, None)))
        for name in sorted(book.active)
    ]


def price_table(found: list[Price]) -> pa.Table:
    """Rows of `schemas.RULES`."""
    return pa.Table.from_pylist([asdict(price) for price in found], schema=schemas.arrow(schemas.RULES))


def _rows(book: RuleBook, model: Model | None, data: Dataset, config: Config) -> dict[str, tuple[int, int, int]]:
    """Rule → users, rows that they would have had without it, users whose list it shortens."""
    generator = np.random.default_rng(config.seed)
    users = np.sort(generator.choice(data.num_users, min(_USERS, data.num_users), replace=False)).astype(np.int32)
    k = config.score.k
    weights = (model.served, model.served_from(data)) if model else None
    lists = _lists(book, weights, data, data.events, data.run_date, users, k, config)
    return {
        name: (len(users), _missing(without, lists[""]), int((without.lengths(k) > lists[""].lengths(k)).sum()))
        for name, without in lists.items()
        if name
    }


def _missing(without: Lists, whole: Lists) -> int:
    """Rows of the one that the other lacks."""
    width = max(int(without.positions.max(initial=0)), int(whole.positions.max(initial=0))) + 1
    keys = [
        (np.arange(len(each.users), dtype=np.int64)[:, None] * width + each.positions)[each.positions != NO_ITEM]
        for each in (without, whole)
    ]
    return int(np.count_nonzero(~np.isin(*keys)))


def _effects(
    book: RuleBook, model: Model | None, data: Dataset, config: Config
) -> dict[str, tuple[int, float, float, float]]:
    """Rule → users judged, and ndcg@10 with all rules less that without it, with its paired 95 % interval."""
    if model is None:
        return {}
    parts = model.held_out
    morning = parts.judge_from.date() if parts.judge_from else data.run_date
    # What may come back after the window is worth meeting as well.
    before = replace(parts, train=book.rules(morning).seen(parts.train))
    pairs = evaluate.held_out(before, keep_seen=config.score.keep_seen, most=_USERS)
    if len(pairs.users) == 0:
        return {}
    weights = (model.judged.towers, model.judged.learned_from)
    lists = _lists(book, weights, data, parts.train, morning, pairs.users, _K, config)
    reached = {
        name: metrics.ndcg(evaluate.ranks_of(pairs, each), pairs.user_of, len(pairs.users), _K)
        for name, each in lists.items()
    }
    names = [name for name in reached if name]
    gains = np.stack([reached[""] - reached[name] for name in names], axis=1)
    low, high = metrics.bootstrap_intervals(gains, config.judge.bootstrap_samples, config.seed)
    return {
        name: (len(pairs.users), float(gains[:, n].mean()), float(low[n]), float(high[n]))
        for n, name in enumerate(names)
    }


def _lists(
    book: RuleBook,
    weights: tuple[Towers, Events] | None,
    data: Dataset,
    events: Events,
    morning: date,
    users: Int32s,
    length: int,
    config: Config,
) -> dict[str, Lists]:
    """Lists with all rules under the name "", and those without each rule under its name."""
    ranker_of = _rankers(weights, data, events, morning, config)
    variants = {"": book.settings} | book.active
    return {
        name: ranker_of(book.rules(morning, chosen)).rank(events, users, length, with_reasons=False)
        for name, chosen in variants.items()
    }


def _rankers(
    weights: tuple[Towers, Events] | None, data: Dataset, events: Events, morning: date, config: Config
) -> Callable[[Rules], Ranker]:
    """From rules to a ranker over exact search that obeys them."""
    everything = score.by_popularity(data, events, morning, config.popular)
    keep_seen, frozen = config.score.keep_seen, config.score.fashion == "trained"

    def ranker(rules: Rules) -> Ranker:
        popular = score.only(everything, rules.eligible)
        if weights is None:
            return Ranker(popular, keep_seen=keep_seen, rules=rules)
        return ranker_of(*weights, data, popular, keep_seen=keep_seen, rules=rules, as_trained=frozen)

    return ranker
