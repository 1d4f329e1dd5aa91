"""The towers of the TensorFlow Recommenders retrieval tutorial: one embedding per user, one per title.

The yardstick, never the product: it cannot serve a user it has not trained on. Importing this module loads TensorFlow.
"""

from __future__ import annotations

from typing import Any

from recbatch import _tensorflow

tf: Any = _tensorflow.tensorflow()
tfrs: Any = _tensorflow.recommenders()

_CANDIDATE_BATCH = 128


class IdTowers(tfrs.Model):  # type: ignore[misc]
    """Two embedding tables and `tfrs.tasks.Retrieval` with in-batch negatives."""

    def __init__(self, num_users: int, num_items: int, dim: int) -> None:
        super().__init__()
        self.user_model = tf.keras.layers.Embedding(num_users, dim)
        self.title_model = tf.keras.layers.Embedding(num_items, dim)
        catalogue = tf.data.Dataset.range(num_items, output_type=tf.int32).batch(_CANDIDATE_BATCH)
        metric = tfrs.metrics.FactorizedTopK(candidates=catalogue.map(self.title_model))
        self.task = tfrs.tasks.Retrieval(metrics=metric)

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """The loss of one batch; metrics only outside of training, where they would cost five times the step."""
        users, titles = self.user_model(inputs["user"]), self.title_model(inputs["title"])
        return self.task(users, titles, compute_metrics=not training)
