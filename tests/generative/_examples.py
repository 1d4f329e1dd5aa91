"""How many examples a property is tried on."""

from __future__ import annotations

import os

from hypothesis import settings


def examples(few: int = 100) -> settings:
    """So many examples in `make test`, RECBATCH_EXAMPLES of them (500) in `make test-long-properties`."""
    return settings(deadline=None, max_examples=int(os.environ.get("RECBATCH_EXAMPLES", few)))
