"""SETTINGS: frozen, closed, explained. An unknown key is an error; every field says its unit and range.

`load` reads `recbatch.toml` and lays overrides over it. Precedence (flag > environment > file > default) is the
caller's: the environment is never read here.
"""

from recbatch.config._learning import Data, FeatureKind, Judge, Source, Train
from recbatch.config._operating import Audit, Gc, Ops
from recbatch.config._reading import load, of_record
from recbatch.config._serving import Index, Popular, Rules, Score
from recbatch.config._values import changes, memory_bytes, seconds, to_toml, toml_value
from recbatch.config._whole import Config

__all__ = [
    "Audit",
    "Config",
    "Data",
    "FeatureKind",
    "Gc",
    "Index",
    "Judge",
    "Ops",
    "Popular",
    "Rules",
    "Score",
    "Source",
    "Train",
    "changes",
    "load",
    "memory_bytes",
    "of_record",
    "seconds",
    "to_toml",
    "toml_value",
]
