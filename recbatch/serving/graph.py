"""The SavedModels' graphs. Importing this module loads TensorFlow.

A layer of TensorFlow Recommenders finds candidates by number; seen ones are dropped by an integer mask, the rest are
scored again in float64 and sorted by score and position, as in the index that published the run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from recbatch import _tensorflow
from recbatch.contracts import Int32s
from recbatch.schemas import SOURCES
from recbatch.serving.tables import Histories, Members, ServingTables

tf: Any = _tensorflow.tensorflow()
tfrs: Any = _tensorflow.recommenders()

_MARGIN = 16
"""Candidates fetched beyond k and what was seen, so that rounding cannot push a true neighbour out."""
_SMALL = 20_000
"""ScaNN visits all leaves of a catalogue smaller than this."""
_SEARCHED_SHARE = 0.1
"""Leaves visited in a larger one."""
_REORDER = 4
"""Hashed candidates that ScaNN scores exactly, per candidate wanted."""
_MODEL, _SEGMENT, _POPULAR = (SOURCES.index(name) for name in ("model", "segment", "popular"))


def layer_of(index: str, tables: ServingTables, k: int) -> Any:
    """The indexed TFRS layer over the candidates; its identifiers are candidate numbers."""
    candidates = tf.constant(tables.candidates)
    numbers = tf.range(len(tables.candidates), dtype=tf.int32)
    if index == "brute":
        return tfrs.layers.factorized_top_k.BruteForce(k=k, name="brute").index(candidates, numbers)
    count = len(tables.candidates)
    leaves = max(1, int(np.sqrt(count)))
    searched = leaves if count < _SMALL else max(1, int(leaves * _SEARCHED_SHARE))
    most_seen = int(np.diff(tables.members.seen.offsets).max(initial=0))
    layer = tfrs.layers.factorized_top_k.ScaNN(
        k=min(k, count),
        num_leaves=leaves,
        num_leaves_to_search=searched,
        num_reordering_candidates=min(count, _REORDER * (k + most_seen + _MARGIN)),
        name="scann",
    )
    return layer.index(candidates, numbers)


class Answers(tf.Module):  # type: ignore[misc]
    """From queries to k titles: the model's, then popular ones, nothing seen among them."""

    def __init__(self, tables: ServingTables, index: str, k: int) -> None:
        super().__init__()
        self._k, self._items = k, len(tables.item_ids)
        self._layer = layer_of(index, tables, k)
        self._candidates = _frozen(tables.candidates)
        self._positions = _frozen(tables.positions)
        self._fill = _frozen(tables.ladder.positions)
        self._fill_scores = _frozen(tables.ladder.scores)
        self._fill_source = _frozen(np.where(tables.ladder.is_segment, _SEGMENT, _POPULAR).astype(np.int32))
        self._ids = tf.constant([*tables.item_ids.to_pylist(), ""])
        self._titles = tf.constant([*tables.titles.to_pylist(), ""])

    def __call__(self, queries: Any, by_model: Any, segments: Any, seen: Any) -> dict[str, Any]:
        """Answers of some queries.

        Args:
            queries: shape (B, dim).
            by_model: shape (B,), bool: whether the query counts.
            segments: shape (B,), int32: whose popularity stands in for a query that does not.
            seen: shape (B, ≤ S) ragged int32: item positions left out.

        Returns:
            `item_ids`, `titles`, `scores`, `sources`, each of shape (B, k); where fewer than k are left, rows end in
            empty texts and the lowest float32.
        """
        mask = self._mask(seen)
        most_seen = tf.maximum(tf.reduce_max(tf.cast(seen.row_lengths(), tf.int32)), 0)  # 0 for an empty batch
        own, own_scores = self._by_model(queries, by_model, mask, most_seen)
        rows = tf.where(by_model, 0, segments + 1)
        length = tf.minimum(self._k + most_seen, self._items)
        more = tf.gather(self._fill[:, :length], rows)
        more = tf.where(_open(more, mask), more, -1)
        sources = tf.concat(
            [tf.fill(tf.shape(own), _MODEL), tf.zeros_like(more) + tf.gather(self._fill_source, rows)[:, None]], axis=1
        )
        scores = tf.concat([own_scores, tf.gather(self._fill_scores[:, :length], rows)], axis=1)
        return self._first(tf.concat([own, more], axis=1), scores, sources)

    def _by_model(self, queries: Any, by_model: Any, mask: Any, most_seen: Any) -> tuple[Any, Any]:
        wanted = tf.minimum(len(self._positions), self._k + most_seen + _MARGIN)
        fetched, numbers = self._layer(queries, k=wanted)
        padding = tf.math.logical_not(tf.math.is_finite(fetched))  # ScaNN's: candidate 0 with score NaN
        positions = tf.gather(self._positions, numbers)
        vectors = tf.cast(tf.gather(self._candidates, numbers), tf.float64)
        scores = tf.cast(tf.einsum("bd,bkd->bk", tf.cast(queries, tf.float64), vectors), tf.float32)
        usable = _open(positions, mask) & by_model[:, None] & tf.math.logical_not(padding)
        order = tf.argsort(positions, axis=1, stable=True)
        positions, scores, usable = (tf.gather(x, order, batch_dims=1) for x in (positions, scores, usable))
        best, place = tf.math.top_k(tf.where(usable, scores, scores.dtype.min), k=tf.minimum(self._k, wanted))
        kept = tf.gather(usable, place, batch_dims=1)  # of equal scores top_k takes the first, the lower position
        return tf.where(kept, tf.gather(positions, place, batch_dims=1), -1), best

    def _first(self, positions: Any, scores: Any, sources: Any) -> dict[str, Any]:
        """The first k that there are of each row."""
        missing = tf.cast(positions < 0, tf.int32)
        order = tf.argsort(missing, axis=1, stable=True)[:, : self._k]
        positions, scores, sources = (tf.gather(x, order, batch_dims=1) for x in (positions, scores, sources))
        there = positions >= 0
        names = tf.where(there, positions, self._items)
        return {
            "item_ids": tf.gather(self._ids, names),
            "titles": tf.gather(self._titles, names),
            "scores": tf.where(there, scores, scores.dtype.min),
            "sources": tf.where(there, tf.gather(tf.constant(SOURCES), sources), ""),
        }

    def _mask(self, seen: Any) -> Any:
        """Shape (B, items) bool: what was seen."""
        cells = tf.stack([tf.cast(seen.value_rowids(), tf.int32), seen.values], axis=1)
        shape = tf.stack([tf.cast(seen.nrows(), tf.int32), self._items])
        return tf.scatter_nd(cells, tf.ones_like(seen.values), shape) > 0


class ByUser(tf.Module):  # type: ignore[misc]
    """Asked with user ids; an id that the run did not know gets what is popular."""

    def __init__(self, tables: ServingTables, index: str, k: int) -> None:
        super().__init__()
        self._answers = Answers(tables, index, k)
        members = tables.members
        self._table = _table(members.ids, np.arange(len(members.ids), dtype=np.int32), default=len(members.ids))
        self._keep(members)

    def _keep(self, members: Members) -> None:
        self._queries = _frozen(members.queries)
        self._by_model = _frozen(members.by_model)
        self._segments = _frozen(members.segments)
        self._seen = _frozen(members.seen.items)
        self._offsets = _frozen(members.seen.offsets)

    @tf.function  # type: ignore[untyped-decorator]
    def ask(self, user_id: Any) -> dict[str, Any]:
        """The signature: `user_id`, shape (B,) of strings."""
        rows = self._table.lookup(user_id)
        first = tf.gather(self._offsets, rows)
        lengths = tf.gather(self._offsets, rows + 1) - first
        ends = tf.cumsum(lengths)
        within = tf.range(tf.reduce_sum(lengths)) - tf.repeat(ends - lengths, lengths)
        seen = tf.RaggedTensor.from_row_lengths(tf.gather(self._seen, tf.repeat(first, lengths) + within), lengths)
        return self._answers(
            tf.gather(self._queries, rows), tf.gather(self._by_model, rows), tf.gather(self._segments, rows), seen
        )

    def signature(self) -> Any:
        """What TensorFlow Serving calls."""
        return self.ask.get_concrete_function(tf.TensorSpec([None], tf.string, name="user_id"))


class ByHistory(tf.Module):  # type: ignore[misc]
    """Asked with the item ids of a history, newest last; empty and unknown ids count as nothing."""

    def __init__(self, tables: ServingTables, index: str, k: int) -> None:
        super().__init__()
        self._answers = Answers(tables, index, k)
        self._how: Histories = tables.histories
        self._table = _table(self._how.ids, self._how.positions, default=-1)
        self._rows = _frozen(self._how.rows)
        self._vectors = _frozen(self._how.vectors)
        self._bias = _frozen(self._how.query_bias)

    @tf.function  # type: ignore[untyped-decorator]
    def ask(self, history: Any) -> dict[str, Any]:
        """The signature: `history`, shape (B, L) of strings, padded with empty ones."""
        positions = self._table.lookup(history)
        rows = tf.where(positions >= 0, tf.gather(self._rows, tf.maximum(positions, 0)), -1)
        seen = tf.ragged.boolean_mask(positions, positions >= 0)
        if not self._how.exclude_seen:
            seen = seen[:, :0]
        by_model = tf.reduce_any(rows >= 0, axis=1)
        return self._answers(self._queries(rows), by_model, tf.zeros_like(by_model, tf.int32), seen)

    def _queries(self, rows: Any) -> Any:
        """Shape (B, dim): `HistoryTowers.embed` of events of weight 1; -1 is no event."""
        known = rows >= 0
        age = tf.cumsum(tf.cast(known, tf.int32), axis=1, exclusive=True, reverse=True)
        vectors = tf.gather(self._vectors, tf.maximum(rows, 0))
        parts, start = [], 0
        for width, reading in zip(self._how.widths, self._how.readings, strict=True):
            faded = tf.pow(tf.constant(2.0, tf.float64), -tf.cast(age, tf.float64) / reading.half_life_events)
            strength = tf.where(known & (age < reading.max_history), faded, 0.0)
            norm = tf.sqrt(tf.reduce_sum(strength**2, axis=1, keepdims=True))
            weight = tf.cast(tf.math.divide_no_nan(strength, norm), tf.float32)
            parts.append(tf.einsum("bl,bld->bd", weight, vectors[:, :, start : start + width]))
            start += width
        queries = tf.concat(parts, axis=1) + self._bias[:-1]
        return tf.concat([queries, tf.zeros_like(queries[:, :1]) + self._bias[-1]], axis=1)

    def signature(self) -> Any:
        """What TensorFlow Serving calls."""
        return self.ask.get_concrete_function(tf.TensorSpec([None, None], tf.string, name="history"))


def _open(positions: Any, mask: Any) -> Any:
    """Whether each position (B, n) is a title that was not seen."""
    return (positions >= 0) & tf.math.logical_not(tf.gather(mask, tf.maximum(positions, 0), batch_dims=1))


def _frozen(array: Any) -> Any:
    return tf.Variable(array, trainable=False)


def _table(ids: pa.StringArray, numbers: Int32s, *, default: int) -> Any:
    rows = tf.lookup.KeyValueTensorInitializer(tf.constant(ids.to_pylist(), tf.string), tf.constant(numbers, tf.int32))
    return tf.lookup.StaticHashTable(rows, default)
