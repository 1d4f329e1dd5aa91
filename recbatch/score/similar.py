"""Items like an item: nearest candidates by cosine."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import schemas
from recbatch.contracts import NO_ITEM, Dataset, Exclusions, Float32s, Index, Int64s
from recbatch.score._named import named, rows_of
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
    wanted = min(count, len(unit) - 1)
    if wanted <= 0:
        return schemas.arrow(schemas.SIMILAR_ITEMS).empty_table()
    found, scores = index.search(unit, wanted, themselves(np.arange(len(unit), dtype=np.int64)))
    by_id = pc.sort_indices(data.item_ids.take(pa.array(catalogue.positions))).to_numpy()
    found, scores = found[by_id], scores[by_id]
    row, column = np.nonzero(found != NO_ITEM)
    neighbours = pa.array(catalogue.positions[found[row, column]])
    return rows_of(
        schemas.SIMILAR_ITEMS,
        {
            "item_id": named(pa.array(catalogue.positions[by_id[row]]), data.item_ids),
            "rank": pa.array((column + 1).astype(np.int16)),
            "similar_item_id": named(neighbours, data.item_ids),
            "similar_title": named(neighbours, data.titles),
            "score": pa.array(scores[row, column]),
        },
    )


def themselves(candidates: Int64s) -> Exclusions:
    """What queries of these candidates must not get: each itself; `candidates` has shape (n,)."""
    return Exclusions(np.arange(len(candidates) + 1, dtype=np.int64), candidates.astype(np.int32))


def unit_vectors(catalogue: Catalogue) -> Float32s:
    """Shape (candidates, dim - 1): embeddings without their bias, of length 1: a dot product is a cosine."""
    directions = catalogue.embeddings[:, :-1]
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(directions / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
