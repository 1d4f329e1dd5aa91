"""Who is compared night after night in a backtest, and what each of them was trained on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from recbatch import split, train
from recbatch.config import Config
from recbatch.contracts import Dataset, Int32s, Lists
from recbatch.errors import RecbatchError
from recbatch.evaluate import HeldOut
from recbatch.model import HistoryTowers
from recbatch.store import Lake

from ._force import returning_weight
from ._peers import Peer, Popularity, Settings, Workshop, rank
from ._quality import LENGTH, OURS, our_ranker, ranked_by

NIGHTLY = frozenset({"recent", "popularity"})
"""Peers that are fitted every night; the others, like the model, when it is time to train."""


def hindsight(tonight: Dataset, pairs: HeldOut) -> Lists:
    """About the most that popularity can tell: titles by how often the judged events are of them, for everybody.

    Ties go to the popular ones so far. The events that are guessed are counted themselves, so it flatters.
    """
    came = np.bincount(pairs.items, minlength=tonight.num_items).astype(np.float32)
    before = np.bincount(tonight.events.items, minlength=tonight.num_items)
    counts = came + before.astype(np.float32) / np.float32(1 + before.sum())
    return rank(Popularity(counts), tonight.events, pairs.users, LENGTH)


class Contenders:
    """Everybody who is compared, as ready as they were on the night at hand."""

    trained: Dataset
    """What the model was trained on."""

    def __init__(self, config: Config, chosen: dict[str, Settings], keep: Lake | None) -> None:
        """Trains nothing.

        Args:
            config: settings of recbatch.
            chosen: peer → its settings.
            keep: where trained models are kept, and taken from where they are what training would give.
        """
        self._config, self._chosen, self._keep = config, chosen, keep
        self._peers: dict[str, Peer] = {}
        self._fitted: train.Fitted | None = None
        self._judged: HistoryTowers | None = None
        self._model_id = ""
        self.seconds = dict.fromkeys([OURS, *chosen], 0.0)
        self.trainings = 0

    def get_ready(self, tonight: Dataset, *, training: bool) -> None:
        """Fits what is fitted tonight."""
        if training:
            self.trained, self.trainings = tonight, self.trainings + 1
            with self._timed(OURS):
                start = self._fitted.towers if self._fitted and self._warm() else None
                self._fitted = self._trained(tonight, start)
        workshop = Workshop(tonight.events, tonight.num_items)
        for name, settings in self._chosen.items():
            if training or name in NIGHTLY:
                with self._timed(name):
                    self._peers[name] = workshop.fit(name, settings, self._config.seed)

    def _trained(self, tonight: Dataset, start: HistoryTowers | None) -> train.Fitted:
        """As a night trains: judged weights say how much of a score holds for the next visit, served ones are used."""
        settings, seed = self._config.train, self._config.seed
        head = train.model_head(tonight, settings, seed, self._model_id if start else "")
        self._model_id = head["model_id"]
        earlier = self.kept(self._model_id)
        if earlier:
            return earlier
        parts = split.by_time(tonight, self._config.judge)
        weight, judged = 1.0, None
        if tonight.has_human(parts.train):
            judged = train.fit(parts.train, tonight, settings, seed, start=self._judged if start else None)
            self._judged = judged.towers
            weight = returning_weight(judged.towers, tonight, parts, self._config)
        served = train.fit(tonight.events, tonight, settings, seed, start=start)
        served = replace(served, towers=replace(served.towers, returning_weight=weight))
        if self._keep:
            took = served.seconds + (judged.seconds if judged else 0)
            train.save(self._keep, judged or served, served, head | {"judged": judged is not None, "seconds": took})
        return served

    def kept(self, model_id: str) -> train.Fitted | None:
        """A training that an earlier call has made; none where it is not there, or damaged."""
        heads = train.model_heads(self._keep) if self._keep else []
        head = next((head for head in heads if head["model_id"] == model_id), None)
        if self._keep is None or head is None:
            return None
        try:
            judged, served = train.load_both(self._keep, model_id)
        except RecbatchError:
            return None
        if head["judged"]:
            self._judged = judged
        self.seconds[OURS] += head["seconds"]
        losses = tuple(map(tuple, head["losses"]))
        made = (head["objective"], head["epochs"], head["steps"], losses, head["seconds"])
        return train.Fitted(served, *made, self._config.train, self._config.seed)

    def _warm(self) -> bool:
        """Whether tonight's training goes on from the last one's weights, as a night would."""
        settings = self._config.train
        return settings.warm_start and (self.trainings - 1) % (settings.max_warm_starts + 1) > 0

    def rank(self, tonight: Dataset, users: Int32s) -> dict[str, Lists]:
        """Everybody's lists from the histories of tonight."""
        assert self._fitted is not None
        with self._timed(OURS):
            ranker = our_ranker(tonight, self.trained.events, self._fitted, self._config)
            lists = {OURS: ranked_by(ranker, tonight.events, users)}
        for name, peer in self._peers.items():
            with self._timed(name):
                lists[name] = rank(peer, tonight.events, users, LENGTH)
        return lists

    @contextlib.contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[name] += time.monotonic() - began
