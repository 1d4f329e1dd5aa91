"""How much of a score holds for the next visit, chosen where the model has not been: on its held-out days."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recbatch import evaluate, index, metrics, score
from recbatch.config import Config
from recbatch.contracts import Dataset, Events, Popular, Split, Towers
from recbatch.model import HistoryTowers
from recbatch.rules import NONE, Rules
from recbatch.score import Ranker

_WEIGHTS = (1.0, 1.4, 0.7, 0.5, 0.35)
"""Ties go to the first."""


def returning_weight(towers: HistoryTowers, data: Dataset, parts: Split, config: Config) -> float:
    """The weight that gives users with a history the best ndcg@10 on the held-out days.

    Training mostly asks about the next click of the same visit; how much of it is true of the next day depends on the
    data. One of five values, on all judged users, cannot flatter the gate's figure by much: see ARCHITECTURE.md.

    Args:
        towers: judged weights, trained on `parts.train`.
        data: tonight's.
        parts: the judged slice, by time.
        config: settings.

    Returns:
        1, as trained, where there are no times or too few users to tell.
    """
    if parts.judge_from is None or not data.has_times:
        return 1.0
    pairs = evaluate.held_out(parts, keep_seen=config.score.keep_seen, most=config.judge.users_most)
    users = pairs.users[pairs.warm]
    if len(users) < config.judge.users_needed:
        return 1.0
    popular = score.by_popularity(data, parts.train, parts.judge_from.date(), config.popular)
    known, reached = towers.with_items(data), []
    for weight in _WEIGHTS:
        judged = replace(known, returning_weight=weight)
        ranker = ranker_of(judged, parts.train, data, popular, keep_seen=config.score.keep_seen)
        lists = ranker.rank(parts.train, pairs.users, 10, with_reasons=False)
        ranks = evaluate.ranks_of(pairs, lists)
        reached.append(metrics.ndcg(ranks, pairs.user_of, len(pairs.users), 10)[pairs.warm].mean())
    return _WEIGHTS[int(np.argmax(reached))]


def ranker_of(
    towers: Towers,
    learned_from: Events,
    data: Dataset,
    popular: Popular,
    *,
    keep_seen: bool,
    rules: Rules = NONE,
    as_trained: bool = False,
) -> Ranker:
    """A ranker by some weights over exact search, or by popularity where they know no eligible title.

    Args:
        towers: weights.
        learned_from: the events that they were trained on.
        data: tonight's.
        popular: the titles that may be recommended.
        keep_seen: whether seen titles may come back.
        rules: what lists obey.
        as_trained: see `Catalogue.of`.
    """
    known = towers.with_items(data)
    catalogue = score.Catalogue.of(known, data, popular.shares, learned_from, rules=rules, as_trained=as_trained)
    if len(catalogue.positions) == 0:
        return Ranker(popular, keep_seen=keep_seen, rules=rules)
    search = index.ExactIndex(catalogue.embeddings)
    return Ranker(popular, known, catalogue, search, keep_seen, known.profiles(data), rules)
