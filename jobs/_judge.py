"""Judging: tonight's model, the parent's and popularity on the same held-out events, users without history included."""

from __future__ import annotations

import numpy as np

from recbatch import evaluate, index, score
from recbatch.config import Config
from recbatch.contracts import Dataset, Json, Lists, Popular
from recbatch.evaluate import Outcome
from recbatch.score import Ranker
from recbatch.store import Lake

from ._model import Judged, Model, judged_weights


def judge(lake: Lake, model: Model, data: Dataset, config: Config, parent: Json | None) -> Outcome:
    """Metrics, held-out events with their ranks, and the gate's verdict."""
    parts = model.held_out
    pairs = evaluate.held_out(parts, keep_seen=config.score.keep_seen)
    if len(pairs.users) == 0:
        return evaluate.nothing_judged("no user did anything new in the judged days")
    until = parts.judge_from.date() if parts.judge_from else data.run_date
    popular = score.by_popularity(data, parts.train, until, config.popular)
    contenders: dict[str, Lists] = {}
    for name, judged in _contenders(lake, model, parent).items():
        ranker = exact_ranker(judged, data, popular, keep_seen=config.score.keep_seen)
        batches = list(
            ranker.rank_all(parts.train, pairs.users, config.judge.list_length, config.score.users_per_batch)
        )
        contenders[name] = _joined(batches)
    return evaluate.measure(contenders, pairs, data, config.judge, protocol=parts.protocol, seed=config.seed)


def exact_ranker(judged: Judged | None, data: Dataset, popular: Popular, *, keep_seen: bool) -> Ranker:
    """A ranker over exact search; without weights, one by popularity."""
    if judged is None:
        return Ranker(popular, keep_seen=keep_seen)
    catalogue = score.Catalogue.of(judged.towers, data, popular.shares, judged.learned_from)
    return Ranker(popular, judged.towers, catalogue, index.ExactIndex(catalogue.embeddings), keep_seen)


def _contenders(lake: Lake, model: Model, parent: Json | None) -> dict[str, Judged | None]:
    found: dict[str, Judged | None] = {evaluate.MODEL: model.judged, evaluate.POPULAR: None}
    if parent and parent.get("model_id") not in (None, model.model_id):
        judged = judged_weights(lake, parent["model_id"], model.held_out)
        if judged is not None:
            found[evaluate.PARENT] = judged
    return found


def _joined(batches: list[Lists]) -> Lists:
    fields = ("users", "positions", "scores", "sources", "because")
    return Lists(*(np.concatenate([getattr(batch, field) for batch in batches]) for field in fields))
