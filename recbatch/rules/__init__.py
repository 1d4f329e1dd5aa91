"""What lists must obey besides their ranking: who may see what, how much of a kind, what comes first, what counts more.

Everything here is arrays by position; `jobs` reads the files and settings that they come from.
"""

from recbatch.rules.caps import Caps
from recbatch.rules.files import Denial, Pin, denied, parse_denials, parse_pins, pinned
from recbatch.rules.obeyed import NONE, Pins, Rules
from recbatch.rules.predicates import condition, require_parsed

__all__ = [
    "NONE",
    "Caps",
    "Denial",
    "Pin",
    "Pins",
    "Rules",
    "condition",
    "denied",
    "parse_denials",
    "parse_pins",
    "pinned",
    "require_parsed",
]
