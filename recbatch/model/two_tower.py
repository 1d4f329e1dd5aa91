"""The two towers as a TensorFlow Recommenders model. Importing this module loads TensorFlow.

Titles are int32 rows of the vocabulary from the first step to the last: no string passes through a training step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recbatch import _tensorflow
from recbatch.contracts import Float32s
from recbatch.model.towers import Part
from recbatch.model.weights import History

tf: Any = _tensorflow.tensorflow()
tfrs: Any = _tensorflow.recommenders()

_EXCLUDED = -1e9
"""Score of a title that is no candidate for a query; finite, so that gradients stay finite."""
_MATRIX_TITLES = 30_000
"""Up to here histories are summed as a dense (B, V) product, faster than gathering; beyond, it is nearly all zeros."""
_SPREAD = 0.1
"""Standard deviation of a new embedding."""


class CatalogueRetrieval(tfrs.tasks.Retrieval):  # type: ignore[misc]
    """`Retrieval` with one set of candidates for all queries and several right answers per query."""

    def call(
        self,
        query_embeddings: Any,
        candidate_embeddings: Any,
        sample_weight: Any = None,
        candidate_sampling_probability: Any = None,
        *,
        answers: Any,
        excluded: Any,
    ) -> Any:
        """The softmax cross-entropy, summed over queries as `Retrieval` does.

        Args:
            query_embeddings: shape (B, dim).
            candidate_embeddings: shape (C, dim).
            sample_weight: shape (B,), what a query counts.
            candidate_sampling_probability: shape (C,), how likely each candidate was to be in the set; none: all are.
            answers: shape (B, C), shares of the right answers; rows sum to 1, or to 0 where the query counts nothing.
            excluded: shape (B, C), true where a candidate is left out of the softmax.
        """
        scores = tf.linalg.matmul(query_embeddings, candidate_embeddings, transpose_b=True)
        if candidate_sampling_probability is not None:
            scores -= tf.math.log(candidate_sampling_probability)
        scores = tf.where(excluded, _EXCLUDED, scores)
        losses = tf.nn.softmax_cross_entropy_with_logits(labels=answers, logits=scores)
        return tf.reduce_sum(losses if sample_weight is None else losses * sample_weight)


class HistoryTower(tf.keras.layers.Layer):  # type: ignore[misc]
    """Query tower: bias + Σ weight · embedding over the titles of a history."""

    def __init__(self, vocabulary: int, dim: int) -> None:
        super().__init__()
        start = tf.keras.initializers.RandomNormal(stddev=_SPREAD)
        self.titles = self.add_weight("titles", shape=(vocabulary, dim), initializer=start)
        self.bias = self.add_weight("bias", shape=(dim,), initializer="zeros")

    def call(self, rows: Any, titles: Any, weights: Any, size: Any) -> Any:
        """Queries (size, dim + 1) of histories that lie flat, (n,) each; the last column is 1."""
        vocabulary = self.titles.shape[0]
        if vocabulary <= _MATRIX_TITLES:
            sums = tf.linalg.matmul(bags(rows, titles, weights, [size, vocabulary]), self.titles)
        else:
            sums = tf.math.unsorted_segment_sum(tf.gather(self.titles, titles) * weights[:, None], rows, size)
        return tf.concat([sums + self.bias, tf.ones([size, 1])], axis=1)


class TitleTower(tf.keras.layers.Layer):  # type: ignore[misc]
    """Candidate tower: one embedding and one scalar bias per title."""

    def __init__(self, bias: Float32s, dim: int) -> None:
        super().__init__()
        start = tf.keras.initializers.RandomNormal(stddev=_SPREAD)
        self.titles = self.add_weight("titles", shape=(len(bias), dim), initializer=start)
        self.bias = self.add_weight("bias", shape=(len(bias), 1), initializer="zeros")
        self.bias.assign(bias[:, None])

    def call(self, titles: Any) -> Any:
        """Candidates (n, dim + 1) of title rows (n,); the last column is the bias."""
        return tf.concat([tf.gather(self.titles, titles), tf.gather(self.bias, titles)], axis=1)


class TwoTower(tfrs.Model):  # type: ignore[misc]
    """Histories on one side, titles on the other."""

    def __init__(self, bias: Float32s, dim: int) -> None:
        """Makes a model with new weights.

        Args:
            bias: shape (V,), where the candidates' biases start; the logarithm of popularity saves many steps.
            dim: columns of an embedding, the bias not counted.
        """
        super().__init__()
        self.query_tower = HistoryTower(len(bias), dim)
        self.candidate_tower = TitleTower(bias, dim)
        self.task = CatalogueRetrieval()

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """The loss of one batch, laid out as `train.batches.Batch` says, summed over its rows."""
        importance, titles = inputs["importance"], inputs["candidate_titles"]
        shape = [tf.shape(importance)[0], tf.shape(titles)[0]]
        answers = bags(inputs["target_rows"], inputs["target_columns"], inputs["target_weights"], shape)
        seen = bags(inputs["seen_rows"], inputs["seen_columns"], tf.ones_like(inputs["seen_rows"], tf.float32), shape)
        history = inputs["history_rows"], inputs["history_titles"], inputs["history_weights"]
        return self.task(
            self.query_tower(*history, shape[0]),
            self.candidate_tower(titles),
            sample_weight=importance,
            candidate_sampling_probability=inputs.get("candidate_probability"),
            answers=answers,
            excluded=(seen > 0) & (answers <= 0),
        )


def bags(rows: Any, columns: Any, weights: Any, shape: Any) -> Any:
    """Weights (n,) summed into a dense matrix by row and column (n,)."""
    return tf.scatter_nd(tf.stack([rows, columns], axis=1), weights, shape)


def tensors(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch of NumPy arrays as tensors, so that a step is traced once and not per value."""
    return {name: tf.constant(array) for name, array in batch.items()}


def export(model: TwoTower, reading: History) -> Part:
    """The trained weights in NumPy.

    Args:
        model: trained.
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
