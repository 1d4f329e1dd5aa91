"""Which titles a training step compares: the whole catalogue, or a sample of a large one."""

from __future__ import annotations

import numpy as np

from recbatch.contracts import Float32s, Int32s
from recbatch.train.batches import Examples

FULL_SOFTMAX_TITLES = 30_000
"""Larger catalogues are sampled: 256 queries by 30,000 scores take about 0.1 s a step on two cores."""
SAMPLED_TITLES = 8_192
"""Uniform negatives of a step besides the answers of its batch."""

_NOT_SAMPLED = -1


class Candidates:
    """Turns examples into the batches of `model.two_tower.TwoTower`: titles become columns of the step's candidates."""

    def __init__(self, popularity: Float32s, random: np.random.Generator) -> None:
        """Prepares sampling.

        Args:
            popularity: shape (V,), events per title, positive.
            random: of the uniform sample.
        """
        self._shares = popularity / popularity.sum()
        self._random = random
        self._everything = np.arange(len(popularity), dtype=np.int32)
        self._columns = np.full(len(popularity), _NOT_SAMPLED, np.int32)

    def batch(self, examples: Examples) -> Examples:
        """The examples with `candidate_titles` (C,), `target_columns` (t,), `seen_rows` and `seen_columns` (s',).

        With a sample, `candidate_probability` (C,) is added: how likely a title was to be in it, either as an answer of
        this batch or by the draw. Its logarithm is taken off the scores (Bengio & Senécal 2008; in `Retrieval` this is
        `candidate_sampling_probability`), else popular titles, which are negatives in every step, would score too low.
        """
        whole = len(self._everything) <= FULL_SOFTMAX_TITLES
        return self._with_all(examples) if whole else self._with_sample(examples)

    def _with_all(self, examples: Examples) -> Examples:
        names = {"seen_titles": "seen_columns", "target_titles": "target_columns"}
        batch = {names.get(name, name): array for name, array in examples.items()}
        return batch | {"candidate_titles": self._everything}

    def _with_sample(self, examples: Examples) -> Examples:
        answers = examples["target_titles"]
        drawn = self._random.integers(0, len(self._everything), SAMPLED_TITLES, dtype=np.int32)
        titles: Int32s = np.union1d(answers, drawn).astype(np.int32)
        self._columns[titles] = np.arange(len(titles), dtype=np.int32)
        seen = self._columns[examples["seen_titles"]]
        sampled = seen != _NOT_SAMPLED
        batch = {name: array for name, array in examples.items() if name not in ("seen_titles", "target_titles")}
        batch |= {
            "candidate_titles": titles,
            "candidate_probability": self._probability(titles, len(answers)),
            "target_columns": self._columns[answers],
            "seen_rows": examples["seen_rows"][sampled],
            "seen_columns": seen[sampled],
        }
        self._columns[titles] = _NOT_SAMPLED
        return batch

    def _probability(self, titles: Int32s, answers: int) -> Float32s:
        expected = answers * self._shares[titles] + SAMPLED_TITLES / len(self._everything)
        return np.asarray(-np.expm1(-expected), np.float32)
