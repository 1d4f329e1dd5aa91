"""The two towers as a TensorFlow Recommenders model. Importing this module loads TensorFlow.

Titles are int32 rows of the vocabulary from the first step to the last: no string passes through a training step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from recbatch import _tensorflow
from recbatch.contracts import Float32s
from recbatch.model.rating_task import RatingTask
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
    """Query tower: bias + Σ over the user's tokens + Σ weight · embedding over the titles of a history."""

    def __init__(self, described: Any, user_tokens: int, dim: int) -> None:
        """Makes new weights.

        Args:
            described: shape (V, item tokens), constant: which tokens a title has.
            user_tokens: how many tokens users may have.
            dim: columns.
        """
        super().__init__()
        start = tf.keras.initializers.RandomNormal(stddev=_SPREAD)
        self.described = described
        self.titles = self.add_weight("titles", shape=(described.shape[0], dim), initializer=start)
        self.bias = self.add_weight("bias", shape=(dim,), initializer="zeros")
        self.tokens = self._table("tokens", described.shape[1], dim)
        self.profile = self._table("profile", user_tokens, dim)

    def call(self, rows: Any, titles: Any, weights: Any, size: Any, profile: Any = None, trust: Any = None) -> Any:
        """Queries (size, dim + 1) of histories that lie flat, (n,) each; the last column is 1.

        `profile` (size, columns) holds tokens of users, NO_TOKEN for none; `trust` (size,) is what they count.
        """
        vocabulary = self.titles.shape[0]
        if vocabulary <= _MATRIX_TITLES:
            sums = tf.linalg.matmul(bags(rows, titles, weights, [size, vocabulary]), self.all_titles())
        else:
            vectors = tf.gather(self.titles, titles)
            if self.described.shape[1]:
                vectors += tf.linalg.matmul(tf.gather(self.described, titles), self.tokens)
            sums = tf.math.unsorted_segment_sum(vectors * weights[:, None], rows, size)
        sums += self.bias
        if profile is not None and self.profile.shape[0]:
            tokens = tf.reduce_sum(tf.one_hot(profile, self.profile.shape[0]), axis=1)
            sums += tf.linalg.matmul(tokens * trust[:, None], self.profile)
        return tf.concat([sums, tf.ones([size, 1])], axis=1)

    def _table(self, name: str, rows: int, dim: int) -> Any:
        return self.add_weight(name, shape=(rows, dim), initializer="zeros", trainable=rows > 0)

    def all_titles(self) -> Any:
        """Shape (V, dim): embeddings with what their tokens add."""
        return self.titles + tf.linalg.matmul(self.described, self.tokens) if self.described.shape[1] else self.titles


class TitleTower(tf.keras.layers.Layer):  # type: ignore[misc]
    """Candidate tower: one embedding and one scalar bias per title, and what its tokens add to both."""

    def __init__(self, described: Any, bias: Float32s, dim: int) -> None:
        """Makes new weights; see `HistoryTower` and `TwoTower`."""
        super().__init__()
        start = tf.keras.initializers.RandomNormal(stddev=_SPREAD)
        self.described = described
        self.titles = self.add_weight("titles", shape=(len(bias), dim), initializer=start)
        self.bias = self.add_weight("bias", shape=(len(bias), 1), initializer="zeros")
        self.bias.assign(bias[:, None])
        self.tokens = self.add_weight(
            "tokens", shape=(described.shape[1], dim + 1), initializer="zeros", trainable=described.shape[1] > 0
        )

    def call(self, titles: Any) -> Any:
        """Candidates (n, dim + 1) of title rows (n,); the last column is the bias."""
        own = tf.concat([tf.gather(self.titles, titles), tf.gather(self.bias, titles)], axis=1)
        if not self.described.shape[1]:
            return own
        return own + tf.linalg.matmul(tf.gather(self.described, titles), self.tokens)


class TwoTower(tfrs.Model):  # type: ignore[misc]
    """Histories on one side, titles on the other."""

    def __init__(
        self,
        bias: Float32s,
        dim: int,
        described: Float32s | None = None,
        user_tokens: int = 0,
        rating_weight: float = 0.0,
    ) -> None:
        """Makes a model with new weights.

        Args:
            bias: shape (V,), where the candidates' biases start; the logarithm of popularity saves many steps.
            dim: columns of an embedding, the bias not counted.
            described: shape (V, item tokens): which tokens a title has; none: titles have none.
            user_tokens: how many tokens users may have.
            rating_weight: of the rating task; 0 leaves it out.
        """
        super().__init__()
        constant = tf.constant(np.zeros((len(bias), 0), np.float32) if described is None else described)
        self.query_tower = HistoryTower(constant, user_tokens, dim)
        self.candidate_tower = TitleTower(constant, bias, dim)
        self.task = CatalogueRetrieval()
        self.rating = RatingTask(dim, rating_weight) if rating_weight else None

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """The loss of one batch, laid out as `train.batches.Batch` says, summed over its rows."""
        importance, titles = inputs["importance"], inputs["candidate_titles"]
        shape = [tf.shape(importance)[0], tf.shape(titles)[0]]
        answers = bags(inputs["target_rows"], inputs["target_columns"], inputs["target_weights"], shape)
        seen = bags(inputs["seen_rows"], inputs["seen_columns"], tf.ones_like(inputs["seen_rows"], tf.float32), shape)
        history = inputs["history_rows"], inputs["history_titles"], inputs["history_weights"]
        queries = self.query_tower(*history, shape[0], inputs.get("profile"), inputs.get("trust"))
        candidates = self.candidate_tower(titles)
        retrieval = self.task(
            queries,
            candidates,
            sample_weight=importance,
            candidate_sampling_probability=inputs.get("candidate_probability"),
            answers=answers,
            excluded=(seen > 0) & (answers <= 0),
        )
        if self.rating is None:
            return retrieval
        return retrieval + self.rating(
            queries, candidates, inputs["rated_rows"], inputs["rated_columns"], inputs["ratings"]
        )


def bags(rows: Any, columns: Any, weights: Any, shape: Any) -> Any:
    """Weights (n,) summed into a dense matrix by row and column (n,)."""
    return tf.scatter_nd(tf.stack([rows, columns], axis=1), weights, shape)


def tensors(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch of NumPy arrays as tensors, so that a step is traced once and not per value."""
    return {name: tf.constant(array) for name, array in batch.items()}


def compiled(step: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """A step over batches of tensors as a graph for any number of rows, traced once, by the first batch."""
    graph: Any = None

    def run(batch: dict[str, Any]) -> Any:
        nonlocal graph
        if graph is None:
            kinds = {name: tf.TensorSpec([None] * array.shape.rank, array.dtype) for name, array in batch.items()}
            graph = tf.function(step, [kinds], autograph=False)  # no Python decides anything: nothing to translate
        return graph(batch)

    return run


def start_from(model: TwoTower, part: Part) -> None:
    """Gives a new model the weights of a trained one with the same vocabulary and tokens."""
    query, candidate = model.query_tower, model.candidate_tower
    described = query.described.numpy()
    query.titles.assign(part.history - described @ part.token_history)
    query.bias.assign(part.query_bias)
    candidate.titles.assign(part.candidates - described @ part.token_candidates)
    candidate.bias.assign((part.candidate_bias - described @ part.token_bias)[:, None])
    if described.shape[1]:
        query.tokens.assign(part.token_history)
        candidate.tokens.assign(np.concatenate([part.token_candidates, part.token_bias[:, None]], axis=1))
    if len(part.profile):
        query.profile.assign(part.profile)
    if model.rating is not None and part.head is not None:
        model.rating.start_from(part.head)


def export(
    model: TwoTower, reading: History, unknown_bias: float = 0.0, rating_scale: tuple[float, float] = (0.0, 1.0)
) -> Part:
    """The trained weights in NumPy.

    Args:
        model: trained.
        reading: how the histories were weighted in training.
        unknown_bias: of a title without an event, its tokens aside.
        rating_scale: mean and standard deviation that ratings were standardised by.
    """
    query, candidate = model.query_tower, model.candidate_tower
    tokens = candidate.tokens.numpy()
    titles = candidate(tf.range(candidate.titles.shape[0])).numpy()
    return Part(
        query.all_titles().numpy(),
        np.ascontiguousarray(titles[:, :-1]),
        np.ascontiguousarray(titles[:, -1]),
        query.bias.numpy(),
        reading,
        query.profile.numpy(),
        query.tokens.numpy(),
        np.ascontiguousarray(tokens[:, :-1]),
        np.ascontiguousarray(tokens[:, -1]),
        unknown_bias,
        model.rating.export(*rating_scale) if model.rating is not None else None,
    )
