"""The two towers as a TensorFlow Recommenders model. Importing this module loads TensorFlow.

Titles are int32 rows of the vocabulary from the first step to the last: no string passes through a training step.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from recbatch import _tensorflow
from recbatch.model.towers import Part
from recbatch.model.weights import History

tf: Any = _tensorflow.tensorflow()
tfrs: Any = _tensorflow.recommenders()

_EXCLUDED = -1e9
"""Score of a title that is no candidate for a query; finite, so that gradients stay finite."""


class CatalogueRetrieval(tfrs.tasks.Retrieval):  # type: ignore[misc]
    """`Retrieval` with every title of the catalogue as candidate and several right answers per query."""

    def call(self, queries: Any, candidates: Any, targets: Any, excluded: Any) -> Any:
        """The softmax cross-entropy, summed over queries as `Retrieval` does.

        Args:
            queries: shape (B, dim).
            candidates: shape (V, dim).
            targets: shape (B, V), what each title counts as an answer; rows sum to the query's weight.
            excluded: shape (B, V), true where a title is left out of the softmax.
        """
        scores = tf.linalg.matmul(queries, candidates, transpose_b=True)
        return self._loss(y_true=targets, y_pred=tf.where(excluded, _EXCLUDED, scores))


class HistoryTower(tf.keras.Model):  # type: ignore[misc]
    """Query tower: bias + Σ weight · embedding over the titles of a history."""

    def __init__(self, vocabulary: int, dim: int, spread: float) -> None:
        super().__init__()
        start = tf.keras.initializers.RandomNormal(stddev=spread)
        self.titles = self.add_weight("titles", shape=(vocabulary, dim), initializer=start)
        self.bias = self.add_weight("bias", shape=(dim,), initializer="zeros")

    def call(self, bags: Any) -> Any:
        """Queries (B, dim + 1) of histories given as bags (B, V): the weight of every title; the last column is 1."""
        queries = tf.linalg.matmul(bags, self.titles) + self.bias
        return tf.concat([queries, tf.ones_like(queries[:, :1])], axis=1)


class TitleTower(tf.keras.Model):  # type: ignore[misc]
    """Candidate tower: one embedding and one scalar bias per title."""

    def __init__(self, vocabulary: int, dim: int, spread: float) -> None:
        super().__init__()
        start = tf.keras.initializers.RandomNormal(stddev=spread)
        self.titles = self.add_weight("titles", shape=(vocabulary, dim), initializer=start)
        self.bias = self.add_weight("bias", shape=(vocabulary, 1), initializer="zeros")

    def call(self, ids: Any) -> Any:
        """Candidates (n, dim + 1) of title rows (n,); the last column is the bias."""
        return tf.concat([tf.gather(self.titles, ids), tf.gather(self.bias, ids)], axis=1)


class TwoTower(tfrs.Model):  # type: ignore[misc]
    """Histories on one side, the catalogue on the other."""

    def __init__(self, vocabulary: int, dim: int, spread: float = 0.1) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.query_tower = HistoryTower(vocabulary, dim, spread)
        self.candidate_tower = TitleTower(vocabulary, dim, spread)
        self.task = CatalogueRetrieval()

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """The loss of one batch of `train.batches`: padded history, weights and targets, each (B, length)."""
        history, targets = inputs["history"], inputs["targets"]
        bags = self._bags(history, inputs["weights"])
        wanted = self._bags(targets, inputs["target_weights"])
        seen = self._bags(history, tf.cast(history >= 0, tf.float32)) > 0
        candidates = self.candidate_tower(tf.range(self.vocabulary))
        return self.task(self.query_tower(bags), candidates, wanted, seen & (wanted <= 0))

    def _bags(self, titles: Any, weights: Any) -> Any:
        """Weights summed per title: (B, length) → (B, V); a padded place (title -1) must weigh 0."""
        rows = tf.range(tf.shape(titles)[0])[:, None] + tf.zeros_like(titles)
        places = tf.stack([rows, tf.maximum(titles, 0)], axis=-1)
        return tf.scatter_nd(places, weights, [tf.shape(titles)[0], self.vocabulary])


def tensors(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch of NumPy arrays as tensors, so that a step is traced once and not per value."""
    return {name: tf.constant(array) for name, array in batch.items()}


def export(model: TwoTower, reading: History) -> Part:
    """The trained weights in NumPy.

    Args:
        model: built and trained.
        reading: how the histories were weighted in training.
    """
    query, candidate = model.query_tower, model.candidate_tower
    return Part(
        query.titles.numpy().astype(np.float32),
        candidate.titles.numpy().astype(np.float32),
        candidate.bias.numpy()[:, 0].astype(np.float32),
        query.bias.numpy().astype(np.float32),
        reading,
    )
