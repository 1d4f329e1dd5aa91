"""From a dataset's item positions to a model's vocabulary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow.compute as pc

from recbatch.contracts import NO_ITEM, Dataset, Events, Int32s, Towers


def vocabulary_positions(data: Dataset, towers: Towers) -> Int32s:
    """Shape (data.num_items,): the row of each of the dataset's items in the model, NO_ITEM where it has none."""
    rows = pc.index_in(data.item_ids, value_set=towers.item_ids).fill_null(NO_ITEM)
    return np.asarray(rows.to_numpy(zero_copy_only=False), np.int32)


def known_events(events: Events, data: Dataset, towers: Towers) -> Events:
    """The events on titles that the model knows, re-encoded to its vocabulary.

    Args:
        events: `items` index `data.item_ids`; not changed.
        data: the dataset they come from.
        towers: the model.

    Returns:
        The same users; `items` index `towers.item_ids`.
    """
    rows = vocabulary_positions(data, towers)[events.items]
    known = rows != NO_ITEM
    return replace(events.where(known), items=rows[known])
