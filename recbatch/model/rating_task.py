"""The second task of a joint training: what the answers were rated. Importing this module loads TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

from recbatch import _tensorflow
from recbatch.model.ratings import RatingHead

tf: Any = _tensorflow.tensorflow()
tfrs: Any = _tensorflow.recommenders()

_HIDDEN = 32
"""Units of the hidden layer."""


class RatingTask(tf.keras.layers.Layer):  # type: ignore[misc]
    """`tfrs.tasks.Ranking` over a small head on query, candidate and their product."""

    def __init__(self, dim: int, weight: float) -> None:
        """Makes new weights.

        Args:
            dim: columns of a query, the bias not counted.
            weight: what a row's mean squared error counts beside its cross-entropy.
        """
        super().__init__()
        self.weight = weight
        self.hidden = tf.keras.layers.Dense(_HIDDEN, activation="relu", name="rating_hidden")
        self.hidden.build((None, 3 * dim))
        self.output_layer = tf.keras.layers.Dense(1, name="rating_output")
        self.output_layer.build((None, _HIDDEN))
        self.task = tfrs.tasks.Ranking(loss=tf.keras.losses.MeanSquaredError())

    def call(self, queries: Any, candidates: Any, rows: Any, columns: Any, ratings: Any) -> Any:
        """Weight x B x mean squared error, beside a retrieval loss that is a sum over B rows.

        Args:
            queries: shape (B, dim + 1).
            candidates: shape (C, dim + 1).
            rows: shape (n,), whose the ratings are; n may be 0.
            columns: shape (n,), of which candidates.
            ratings: shape (n,), standardised.
        """
        query, candidate = tf.gather(queries[:, :-1], rows), tf.gather(candidates[:, :-1], columns)
        features = tf.concat([query, candidate, query * candidate], axis=1)
        error = self.task(labels=ratings[:, None], predictions=self.output_layer(self.hidden(features)))
        return self.weight * tf.cast(tf.shape(queries)[0], tf.float32) * error

    def start_from(self, head: RatingHead) -> None:
        """Takes the weights of a trained head of the same width."""
        self.hidden.set_weights([head.hidden, head.hidden_bias])
        self.output_layer.set_weights([head.output[:, None], np.array([head.output_bias], np.float32)])

    def export(self, mean: float, spread: float) -> RatingHead:
        """The trained weights in NumPy, for ratings of this mean and standard deviation."""
        hidden, hidden_bias = self.hidden.get_weights()
        output, output_bias = self.output_layer.get_weights()
        return RatingHead(hidden, hidden_bias, output[:, 0], float(output_bias[0]), mean, spread)
