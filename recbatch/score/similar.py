"""Items like an item: nearest candidates by cosine."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from recbatch import schemas
from recbatch.contracts import NO_ITEM, Dataset, Exclusions, Float32s, Index, Int64s
from recbatch.score.catalogue import Catalogue


def similar_items(catalogue: Catalogue, data: Dataset, index: Index, count: int) -> pa.Table:
    """The table `similar_items`: for every candidate its nearest others.

    Args:
        catalogue: tonight's candidates.
        data: names the positions.
        index: over `unit_vectors(catalogue)`.
        count: neighbours per item.

    Returns:
        Rows sorted by item id as text and rank; an item alone in its catalogue has none.
    """
    unit = unit_vectors(catalogue)
    itself = themselves(np.arange(len(unit), dtype=np.int64))
    wanted = min(count, len(unit) - 1)
    found, scores = index.search(unit, wanted, itself) if wanted > 0 else (np.empty((len(unit), 0)), None)
    row, column = np.nonzero(found != NO_ITEM)
    neighbours = pa.array(catalogue.positions[found[row, column]] if len(row) else np.empty(0, dtype=np.int32))
    table = pa.table(
        {
            "item_id": data.item_ids.take(pa.array(catalogue.positions[row])),
            "rank": pa.array((column + 1).astype(np.int16)),
            "similar_item_id": data.item_ids.take(neighbours),
            "similar_title": data.titles.take(neighbours),
            "score": pa.array(scores[row, column] if scores is not None else np.empty(0, dtype=np.float32)),
        },
        schema=schemas.arrow(schemas.SIMILAR_ITEMS),
    )
    return table.sort_by([("item_id", "ascending"), ("rank", "ascending")])


def themselves(candidates: Int64s) -> Exclusions:
    """What queries of these candidates must not get: each itself; `candidates` has shape (n,)."""
    return Exclusions(np.arange(len(candidates) + 1, dtype=np.int64), candidates.astype(np.int32))


def unit_vectors(catalogue: Catalogue) -> Float32s:
    """Shape (candidates, dim - 1): embeddings without their bias, of length 1: a dot product is a cosine."""
    directions = catalogue.embeddings[:, :-1]
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(directions / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
