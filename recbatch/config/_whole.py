"""All sections together."""

from __future__ import annotations

import hashlib
import json

from pydantic import model_validator

from recbatch.config._base import Count, Section
from recbatch.config._learning import Data, Judge, Source, Train
from recbatch.config._operating import Audit, Gc, Ops
from recbatch.config._serving import Index, Popular, Rules, Score


class Config(Section):
    """Everything a night depends on besides its input, its date and its parent."""

    seed: Count = 42
    """Seed of every random choice."""
    source: Source = Source()
    dataset: Data = Data()
    judge: Judge = Judge()
    train: Train = Train()
    index: Index = Index()
    score: Score = Score()
    popular: Popular = Popular()
    rules: Rules = Rules()
    audit: Audit = Audit()
    gc: Gc = Gc()
    ops: Ops = Ops()

    @model_validator(mode="after")
    def _lists_fit(self) -> Config:
        if self.score.k + self.score.buffer > 32_767:
            raise ValueError("score.k + score.buffer exceeds 32767, the largest rank")
        return self

    def digest(self, *sections: str) -> str:
        """Hex sha256 over the named sections (all where none is named): equal settings, equal digest."""
        values = self.model_dump(mode="json")
        chosen = {name: values[name] for name in sections} if sections else values
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()
