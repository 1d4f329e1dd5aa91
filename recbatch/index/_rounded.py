"""Candidates and queries rounded to bytes, with a bound on what that costs: a first look, four numbers at a time.

What may be among the k best by rounded scores is scored again in float32, so the result is the same in every bit; the
bound is Cauchy-Schwarz on what rounding took from either side. Both are turned at random first, which changes no
product and leaves no column much larger than another: one step then fits all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from recbatch._compiling import TILE_DEPTH, zeros
from recbatch.contracts import Float32s, Int32s

_MOST = 127
_MIDDLE = 128
"""Added to a candidate's bytes, which the machine multiplies as unsigned ones."""
_SEED = 1
_AT_ONCE = 2**16
"""Candidates rounded at a time."""

Bytes = np.ndarray[Any, np.dtype[np.int8]]


@dataclass(frozen=True, slots=True)
class RoundedCandidates:
    """Candidates less their mean, turned, in steps of one size for all."""

    panels: Int32s
    """Shape (panels, dim / 4, candidates of a panel), four bytes in each number; what fills up holds the mean.

    For the matrix unit in another order: the numbers of half of a panel's candidates stand before those of the others.
    """
    mean: Float32s
    """Shape (dim,)."""
    turn: Float32s
    """Shape (dim, dim): orthogonal but for rounding."""
    step: float
    longest: float
    """Length of the longest rounded candidate."""
    lost: float
    """Length of the most that rounding took from a candidate."""
    apart: float
    """How far, per length of a query, float32 and turning can move a score."""
    in_tiles: bool = False
    """Whether the matrix unit multiplies them."""


@dataclass(frozen=True, slots=True)
class RoundedQueries:
    """Queries in steps of their own."""

    words: Int32s
    """Shape (B, words), four bytes in each number; for the matrix unit as many as its registers hold."""
    starts: Int32s
    """Shape (B,): what the middle of the candidates' bytes adds, taken off again."""
    steps: Float32s
    """Shape (B,): what a product of bytes is worth."""
    bases: Float32s
    """Shape (B,): the score of the candidates' mean."""
    bound: Float32s
    """Shape (B,): how far a rounded score may lie from the score in any order of float32."""


def length_of_longest(vectors: np.ndarray[Any, Any]) -> float:
    """Of vectors, shape (n, dim); 0 of none."""
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return float(np.sqrt(squares.max(initial=0.0)))


def candidates(candidates: Float32s, columns: int, *, in_tiles: bool = False) -> RoundedCandidates:
    """Rounds candidates.

    Args:
        candidates: shape (items, dim).
        columns: candidates of a panel.
        in_tiles: whether the matrix unit will multiply them: in its order.
    """
    count, dim = candidates.shape
    mean = candidates.mean(axis=0, dtype=np.float64).astype(np.float32)
    turn = np.linalg.qr(np.random.default_rng(_SEED).normal(size=(dim, dim)))[0].astype(np.float32)
    parts = [slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE)]
    turned = np.empty_like(candidates)
    for part in parts:
        np.matmul(candidates[part] - mean, turn, out=turned[part])
    step = max(float(np.abs(turned).max()), float(np.finfo(np.float32).tiny)) / _MOST
    rounded = np.full((-(-count // columns) * columns, -(-dim // 4) * 4), _MIDDLE, dtype=np.uint8)
    longest = lost = 0.0
    for part in parts:
        whole = np.rint(turned[part].astype(np.float64) / step)
        rounded[:count][part, :dim] = (whole + _MIDDLE).astype(np.uint8)
        longest = max(longest, length_of_longest(whole * step))
        lost = max(lost, length_of_longest(turned[part] - whole * step))
    if in_tiles:
        grouped = rounded.reshape(-1, 2, columns // 2, rounded.shape[1] // 4, 4).transpose(0, 1, 3, 2, 4)
    else:
        grouped = rounded.reshape(-1, columns, rounded.shape[1] // 4, 4).transpose(0, 2, 1, 3)
    skew = float(np.linalg.norm(turn.astype(np.float64) @ turn.T.astype(np.float64) - np.eye(dim)))
    # float32: in the score itself, in the mean's, in turning either side, in putting the mean and the bytes together.
    unit = (dim + 8) * 2.0**-24
    reach = (longest + lost) * (1 + skew + 2 * dim * unit) + float(np.linalg.norm(mean))
    apart = reach * (skew + (4 + 2 * np.sqrt(dim)) * unit / (1 - unit))
    panels = _words(grouped, -1, rounded.shape[1] // 4, columns)
    return RoundedCandidates(panels, mean, turn, step, longest, lost, float(apart), in_tiles)


def queries(queries: Float32s, of: RoundedCandidates) -> RoundedQueries:
    """Rounds queries.

    Args:
        queries: shape (B, dim).
        of: the candidates that they will meet.
    """
    count, dim = queries.shape
    turned = queries @ of.turn
    steps = np.maximum(np.abs(turned).max(axis=1), np.finfo(np.float32).tiny) / np.float32(_MOST)
    scaled = turned / steps[:, None]
    whole = np.rint(scaled)
    deep = 4 * TILE_DEPTH if of.in_tiles else 4
    rounded = np.zeros((count, -(-dim // deep) * deep), dtype=np.int8)
    rounded[:, :dim] = whole
    lengths, lost = _lengths(scaled) * steps, (_lengths(scaled - whole) + dim * 2.0**-16) * steps
    apart = lengths * (of.lost + of.apart) + lost * of.longest
    return RoundedQueries(
        rounded.view(np.int32),
        -_MIDDLE * rounded.sum(axis=1, dtype=np.int32),
        steps * np.float32(of.step),
        queries @ of.mean,
        np.asarray(apart + np.finfo(np.float32).tiny, dtype=np.float32),
    )


def _lengths(vectors: Float32s) -> np.ndarray[Any, np.dtype[np.float64]]:
    squares = np.einsum("ij,ij->i", vectors, vectors).astype(np.float64)
    return np.asarray(np.sqrt(squares) * (1 + 2.0**-12))


def _words(bytes_: np.ndarray[Any, Any], *shape: int) -> Int32s:
    """Four bytes that follow each other as one number, from the start of a line of the cache."""
    words = zeros(bytes_.size // 4).view(np.int32)
    words.view(bytes_.dtype).reshape(bytes_.shape)[:] = bytes_
    return words.reshape(shape)
