"""The model kit: towers in NumPy for scoring, the TensorFlow Recommenders model for training. No input or output.

Importing this package loads no TensorFlow; `recbatch.model.two_tower` does.
"""

from recbatch.model.accuracy import acc_at_k
from recbatch.model.events import known_events, vocabulary_positions
from recbatch.model.features import FeatureSpace
from recbatch.model.ratings import RatingHead, rating_scale
from recbatch.model.towers import HistoryTowers, Part, Tokens, concatenate
from recbatch.model.weights import History, divided

__all__ = [
    "FeatureSpace",
    "History",
    "HistoryTowers",
    "Part",
    "RatingHead",
    "Tokens",
    "acc_at_k",
    "concatenate",
    "divided",
    "known_events",
    "rating_scale",
    "vocabulary_positions",
]
