"""What a user would rate a title, in plain NumPy: the head that `train.rating_weight` trains beside each part.

    rating(user, i) = mean + spread · (output · relu(hidden · [query, candidate, query ∘ candidate] + biases))

The last layer of the TFRS multitask tutorial (https://www.tensorflow.org/recommenders/examples/multitask), one layer
less deep, on histories instead of user ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from recbatch.contracts import Float32s, Int32s

if TYPE_CHECKING:
    from recbatch.model.towers import Part

_CHUNK_PAIRS = 16_384
"""Pairs predicted at a time: some tens of MB."""


@dataclass(frozen=True, slots=True)
class RatingHead:
    """The weights of one part's head; d is the part's width, H that of the hidden layer."""

    hidden: Float32s
    """Shape (3 d, H)."""
    hidden_bias: Float32s
    """Shape (H,)."""
    output: Float32s
    """Shape (H,)."""
    output_bias: float
    mean: float
    """Mean rating of the training events."""
    spread: float
    """Their standard deviation; the layers speak in units of it."""

    def predict(self, queries: Float32s, candidates: Float32s) -> Float32s:
        """Shape (n,): ratings on the source's scale, not clipped; both arguments are (n, d), without bias columns."""
        features = np.concatenate([queries, candidates, queries * candidates], axis=1)
        hidden = np.maximum(features @ self.hidden + self.hidden_bias, 0)
        standard = hidden @ self.output + np.float32(self.output_bias)
        return np.asarray(standard * np.float32(self.spread) + np.float32(self.mean), np.float32)


def rating_scale(ratings: Float32s) -> tuple[float, float]:
    """Mean and standard deviation of the ratings that are there, at least one; a spread of 0 counts as 1."""
    known = ratings[np.isfinite(ratings)].astype(np.float64)
    return float(known.mean()), float(known.std()) or 1.0


def predict_ratings(
    parts: Sequence[Part], shares: Sequence[float], queries: Float32s, users: Int32s, items: Int32s
) -> Float32s | None:
    """The mean of the parts' predictions by their shares; none where a part has no head.

    Args:
        parts: stand side by side in the columns of the queries, each times the root of its share.
        shares: of the parts.
        queries: shape (B, dim).
        users: shape (n,), rows of `queries`.
        items: shape (n,), rows of the vocabulary.

    Returns:
        Shape (n,).
    """
    heads = [part.head for part in parts if part.head is not None]
    if len(heads) < len(parts):
        return None
    found = np.zeros(len(users), np.float32)
    for start in range(0, len(users), _CHUNK_PAIRS):
        pairs, column = slice(start, start + _CHUNK_PAIRS), 0
        for head, part, share in zip(heads, parts, shares, strict=True):
            width = part.history.shape[1]
            own = queries[users[pairs], column : column + width] / np.float32(np.sqrt(share))
            found[pairs] += head.predict(own, part.candidates[items[pairs]]) * np.float32(share / sum(shares))
            column += width
    return found


def head_arrays(parts: Sequence[Part]) -> dict[str, npt.NDArray[np.generic]]:
    """The heads as named arrays, for `head_of`; empty where there are none."""
    found: dict[str, npt.NDArray[np.generic]] = {}
    for number, part in enumerate(parts):
        if head := part.head:
            found |= {
                f"rating_hidden_{number}": head.hidden,
                f"rating_hidden_bias_{number}": head.hidden_bias,
                f"rating_output_{number}": head.output,
                f"rating_scale_{number}": np.array([head.output_bias, head.mean, head.spread], np.float64),
            }
    return found


def head_of(arrays: Mapping[str, npt.NDArray[np.generic]], number: int) -> RatingHead | None:
    """The head of a part among the arrays of a model; none where it has none."""
    if f"rating_hidden_{number}" not in arrays:
        return None
    hidden, bias, output = (
        np.asarray(arrays[f"rating_{name}_{number}"], np.float32) for name in ("hidden", "hidden_bias", "output")
    )
    output_bias, mean, spread = np.asarray(arrays[f"rating_scale_{number}"]).tolist()
    return RatingHead(hidden, bias, output, output_bias, mean, spread)
