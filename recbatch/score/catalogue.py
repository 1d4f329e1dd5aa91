"""Tonight's candidates: where the model's vocabulary meets tonight's items."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recbatch.contracts import Dataset, Events, Exclusions, Float32s, Int32s, Towers
from recbatch.errors import DataError
from recbatch.model import vocabulary_positions
from recbatch.rules import Rules
from recbatch.score import barring
from recbatch.score.trend import as_learned, fashion

_COLLAPSED = 1e-6
"""Spread of all candidate embeddings, relative to their size, below which they count as one point."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The candidates that the model knows and that tonight still has and may recommend, in position order."""

    embeddings: Float32s
    """Shape (candidates, dim)."""
    positions: Int32s
    """Shape (candidates,): item position of each candidate, ascending."""
    candidate_of_item: Int32s
    """Shape (items,): candidate of each item position, -1 where it is none."""
    row_of_item: Int32s
    """Shape (items,): vocabulary row of each item position, -1 where the model does not know it."""

    @classmethod
    def of(
        cls,
        towers: Towers,
        data: Dataset,
        shares: Float32s | None = None,
        learned_from: Events | None = None,
        *,
        rules: Rules | None = None,
        as_trained: bool = False,
    ) -> Catalogue:
        """Matches a model with a dataset and with tomorrow.

        Everybody who comes tomorrow comes back: scores keep `towers.returning_weight` of their size, and the biases
        learn what is in fashion. Without times there is no tomorrow, and scores stay as trained.

        Args:
            towers: the model.
            data: tonight's.
            shares: shape (items,), from `trend.tomorrow`; none: scores stay as trained.
            learned_from: the events that the towers were trained on; goes with `shares`.
            rules: say which titles are candidates at all, and which count more.
            as_trained: popularity is taken as it was when the towers were trained, among the titles that they know;
                candidates are then the same on every night with these towers.

        Raises:
            DataError: embeddings are not finite or have collapsed to one point, or nothing matches.
        """
        _require_sound(towers.candidates)
        row_of_item = vocabulary_positions(data, towers)
        positions = np.flatnonzero(row_of_item >= 0).astype(np.int32)
        if len(positions) == 0:
            raise DataError(
                "the model knows none of tonight's items; check that the item ids are still the same,"
                " or train anew with --train always"
            )
        if rules is not None and rules.eligible is not None:
            positions = positions[rules.eligible[positions]]
        candidate_of_item = np.full(data.num_items, -1, dtype=np.int32)
        candidate_of_item[positions] = np.arange(len(positions), dtype=np.int32)
        embeddings = np.ascontiguousarray(towers.candidates[row_of_item[positions]])
        if shares is not None and learned_from is not None and data.has_times:
            weight = np.float32(towers.returning_weight)
            embeddings *= weight
            if as_trained:
                known = _as_rows(learned_from, row_of_item)
                shift = as_learned(known, data.counted(known), len(towers.candidates), float(weight))
                embeddings[:, -1] += shift[row_of_item[positions]]
            else:
                embeddings[:, -1] += fashion(shares, learned_from, float(weight))[positions]
        if rules is not None and rules.bias is not None:
            embeddings[:, -1] += rules.bias[positions]
        return cls(embeddings, positions, candidate_of_item, row_of_item)

    def histories(self, events: Events) -> Events:
        """The events on titles that the model knows, items as vocabulary rows."""
        return _as_rows(events, self.row_of_item)


def _as_rows(events: Events, row_of_item: Int32s) -> Events:
    rows = row_of_item[events.items]
    known = rows >= 0
    return replace(events.where(known), items=rows if known.all() else rows[known])


def _require_sound(embeddings: Float32s) -> None:
    if not np.isfinite(embeddings).all():
        bad = int(np.flatnonzero(~np.isfinite(embeddings).all(axis=1))[0])
        raise DataError(
            f"candidate embedding {bad} of the model is not finite; train anew with --train always"
            " and a lower train.learning_rate"
        )
    vectors = embeddings[:, :-1]  # the last column, a bias, tells titles apart but no users
    spread = float(np.abs(vectors - vectors.mean(axis=0)).max())
    if len(embeddings) > 1 and spread <= _COLLAPSED * float(np.abs(embeddings).max()):
        raise DataError("all candidate embeddings are equal: the model has collapsed; train anew with --train always")


def exclusions(events: Events) -> Exclusions:
    """The titles of each user's history, once each, sorted; one row per user of `events`."""
    return barring.each_once(events.offsets, events.items)
