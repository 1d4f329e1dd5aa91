"""Training: fits the towers, keeps them in the lake, and decides each night whether to train at all.

Importing this package loads no TensorFlow; `fit` and `tutorial` do.
"""

from recbatch.train.checkpoints import Checkpoints
from recbatch.train.decision import Decision, decide, predecessor
from recbatch.train.fitting import Fitted, fit, step_times
from recbatch.train.shelf import (
    JUDGED,
    SERVED,
    load,
    load_both,
    model_head,
    model_heads,
    model_key,
    reject,
    rejected,
    save,
    train_digest,
)
from recbatch.train.tutorial import tutorial

__all__ = [
    "JUDGED",
    "SERVED",
    "Checkpoints",
    "Decision",
    "Fitted",
    "decide",
    "fit",
    "load",
    "load_both",
    "model_head",
    "model_heads",
    "model_key",
    "predecessor",
    "reject",
    "rejected",
    "save",
    "step_times",
    "train_digest",
    "tutorial",
]
