"""What all unit tests begin with."""

import pytest

from recbatch import _compiling


@pytest.fixture(autouse=True)
def nothing_has_earned_compiling(monkeypatch):
    """Loops that one test compiled would else be compiled by whatever comes after it."""
    monkeypatch.setattr(_compiling, "_done", [0.0])
