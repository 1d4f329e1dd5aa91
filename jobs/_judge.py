"""Judging: tonight's model, the parent's and popularity on the same held-out events, users without history included."""

from __future__ import annotations

from dataclasses import replace

from recbatch import evaluate, score, train
from recbatch.config import Config
from recbatch.contracts import Dataset, Json, Lists, Popular, Split
from recbatch.evaluate import HeldOut, Outcome
from recbatch.score import Ranker
from recbatch.store import Lake

from ._force import ranker_of
from ._model import Judged, Model, judged_weights, of_parent
from ._ratings import rated
from ._say import Say


def judge(lake: Lake, model: Model, data: Dataset, config: Config, parent: Json | None) -> Outcome:
    """Metrics, held-out events with their ranks, and the gate's verdict."""
    parts = model.held_out
    pairs = evaluate.held_out(parts, keep_seen=config.score.keep_seen, most=config.judge.users_most)
    if len(pairs.users) == 0:
        return evaluate.nothing_judged("no user did anything new in the judged days")
    until = parts.judge_from.date() if parts.judge_from else data.run_date
    popular = score.by_popularity(data, parts.train, until, config.popular)
    judged = _contenders(lake, model, parent)
    contenders = {name: lists_of(weights, popular, parts, pairs, data, config) for name, weights in judged.items()}
    outcome = evaluate.measure(contenders, pairs, data, config.judge, protocol=parts.protocol, seed=config.seed)
    return replace(outcome, metrics=outcome.metrics + rated(judged, parts, data, config))


def judge_or_fall_back(
    lake: Lake, model: Model, data: Dataset, config: Config, parent: Json | None, say: Say
) -> tuple[Model, Outcome]:
    """Judges tonight's model; one that fails the gate gives way to the parent's model with today's histories.

    A failed model is recorded, so that no later night loads it by itself.

    Returns:
        The model to publish and its outcome: the parent's only if it passes the gate that tonight's failed.
    """
    outcome = judge(lake, model, data, config, parent)
    if not outcome.failed:
        return model, outcome
    why = f"{outcome.failed[0].check}: {outcome.failed[0].observed}"
    train.reject(lake, model.model_id, why)
    say.event("gate", failed=why, model_id=model.model_id)
    if not parent or parent.get("model_id") in (None, model.model_id):
        return model, outcome
    reason = f"Tonight's model {model.model_id} failed the gate ({why}); the parent's meets today's histories."
    older = of_parent(lake, data, config, parent, reason)
    second = judge(lake, older, data, config, None) if older else None
    if older is None or second is None or second.failed:
        return model, outcome
    return older, second.after(outcome)


def lists_of(
    judged: Judged | None, popular: Popular, parts: Split, pairs: HeldOut, data: Dataset, config: Config
) -> Lists:
    """The lists of the judged users on the morning before the held-out events, `judge.list_length` rows each."""
    ranker = exact_ranker(judged, data, popular, keep_seen=config.score.keep_seen)
    length, step = config.judge.list_length, config.score.users_per_batch
    return Lists.joined(list(ranker.rank_all(parts.train, pairs.users, length, step, with_reasons=False)))


def exact_ranker(judged: Judged | None, data: Dataset, popular: Popular, *, keep_seen: bool) -> Ranker:
    """A ranker over exact search; without weights, one by popularity."""
    if judged is None:
        return Ranker(popular, keep_seen=keep_seen)
    return ranker_of(judged.towers, judged.learned_from, data, popular, keep_seen=keep_seen)


def _contenders(lake: Lake, model: Model, parent: Json | None) -> dict[str, Judged | None]:
    found: dict[str, Judged | None] = {evaluate.MODEL: model.judged, evaluate.POPULAR: None}
    if parent and parent.get("model_id") not in (None, model.model_id):
        judged = judged_weights(lake, parent["model_id"], model.held_out)
        if judged is not None:
            found[evaluate.PARENT] = judged
    return found
