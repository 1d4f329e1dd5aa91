"""What is predicted from a parent: it says how fast the machine is, and nothing of what it compiled."""

import pytest

from jobs import _forecast
from recbatch.config import Config

from ._worlds import build

DATA = build(
    [(f"u{user}", item, 1 + user % 5) for user in range(30) for item in "abc"], {item: item for item in "abcd"}
)
STAGES = {"read": 1.0, "judge": 2.0, "index": 1.0, "score": 3.0, "write": 1.0, "audit": 2.0}


def seconds(times=1.0, compiling=0.0, rows=30):
    parent = {
        "run_id": "2024-02-29.1", "users": 30, "items": 4, "counts": {"interactions": 90}, "files": {},
        "train": {"trained": False}, "rows": {"recommendations": rows, "recommendations_buffer": 0},
        "seconds": {stage: took * times for stage, took in STAGES.items()} | {"train": 0.1},
    }  # fmt: skip
    if compiling:
        parent["seconds"]["score"] += compiling
        parent["compiling_seconds"] = {"score": compiling}
    return _forecast.predict(DATA, Config(), parent, trains=False, reason="").seconds


def test_a_night_like_its_parent_takes_as_long_and_one_of_a_slower_machine_longer():
    once, twice = seconds(), seconds(times=2.0)
    for stage, took in STAGES.items():
        assert once[stage] == pytest.approx(took, rel=0.01)
        assert twice[stage] == pytest.approx(2 * once[stage])


def test_what_the_parent_compiled_is_not_compiled_again():
    assert seconds(compiling=9.0) == pytest.approx(seconds())


def test_a_parent_of_next_to_no_rows_says_less_than_constants():
    assert seconds(rows=1) == pytest.approx(_forecast.predict(DATA, Config(), None, trains=False, reason="").seconds)
