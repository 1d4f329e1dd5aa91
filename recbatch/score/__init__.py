"""Ranked lists for every user: the model's candidates first, popularity behind them, exactly k rows or a reason."""

from recbatch.score.barring import renamed
from recbatch.score.catalogue import Catalogue, exclusions
from recbatch.score.lists import Ranker, known_to_model, to_table
from recbatch.score.popular import by_popularity, only, popular_table
from recbatch.score.shortfall import shortfall_reasons
from recbatch.score.similar import similar_items, themselves, unit_vectors
from recbatch.score.trend import fashion, tomorrow
from recbatch.score.unchanged import shared_digest, user_digests
from recbatch.score.users import history_table, item_table, user_table

__all__ = [
    "Catalogue",
    "Ranker",
    "by_popularity",
    "exclusions",
    "fashion",
    "history_table",
    "item_table",
    "known_to_model",
    "only",
    "popular_table",
    "renamed",
    "shared_digest",
    "shortfall_reasons",
    "similar_items",
    "themselves",
    "to_table",
    "tomorrow",
    "unit_vectors",
    "user_digests",
    "user_table",
]
