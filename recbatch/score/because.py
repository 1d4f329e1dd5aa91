"""Evidence: which title of the history has the largest share in each score, read off the towers themselves."""

from __future__ import annotations

import numpy as np

from recbatch.contracts import NO_ITEM, Float32s, Int32s, Int64s

_PADDED_CELLS = 4_000_000  # padded history vectors held at once: 32 MB in float64


def reasons(vectors: Float32s, offsets: Int64s, candidates: Float32s, found: Int32s) -> Int32s:
    """The event with the largest share in each recommended score.

    A query is a sum of event vectors, so the share of event e in score(user, item) is vector(e) · candidate(item).
    Shares are taken in float64 and compared in float32, so that they do not depend on how users are batched.

    Args:
        vectors: shape (events, dim): what each event adds to its user's query.
        offsets: shape (B + 1,): events per user, at least one each.
        candidates: shape (candidates, dim).
        found: shape (B, k): recommended candidates, NO_ITEM for none.

    Returns:
        Shape (B, k) int32: the row of `vectors`, the earliest among equals; NO_ITEM where `found` is.
    """
    counts = np.diff(offsets)
    result = np.full(found.shape, NO_ITEM, dtype=np.int32)
    bucket = np.ceil(np.log2(counts)).astype(np.int64)  # padding at most doubles a history
    for level in np.unique(bucket):
        rows = np.flatnonzero(bucket == level)
        step = max(1, _PADDED_CELLS // (2 ** int(level) * vectors.shape[1]))
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            result[part] = _reasons_padded(vectors, offsets[part], counts[part], candidates[found[part]])
    result[found == NO_ITEM] = NO_ITEM
    return result


def _reasons_padded(vectors: Float32s, first: Int64s, counts: Int64s, items: Float32s) -> Int32s:
    place = np.arange(int(counts.max()))
    inside = place < counts[:, None]
    event = first[:, None] + np.where(inside, place, 0)
    shares = np.matmul(vectors[event].astype(np.float64), items.astype(np.float64).transpose(0, 2, 1)).astype(
        np.float32
    )
    shares[~inside] = -np.inf
    best = shares.argmax(axis=1)
    return np.asarray(first[:, None] + best, dtype=np.int32)
