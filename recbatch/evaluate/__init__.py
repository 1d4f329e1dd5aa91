"""How good tonight's judged model is on the events it was not shown, and whether it may replace what readers have."""

from recbatch.evaluate.gate import CHALLENGER, MODEL, PARENT, POPULAR
from recbatch.evaluate.measuring import Difference, Outcome, measure, metrics_table, nothing_judged
from recbatch.evaluate.pairs import HeldOut, held_out, ranks_of
from recbatch.evaluate.ratings import rating_metrics

__all__ = [
    "CHALLENGER",
    "MODEL",
    "PARENT",
    "POPULAR",
    "Difference",
    "HeldOut",
    "Outcome",
    "held_out",
    "measure",
    "metrics_table",
    "nothing_judged",
    "ranks_of",
    "rating_metrics",
]
