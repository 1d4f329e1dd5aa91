"""Work on all cores."""

import threading

import numpy as np
import pytest

from jobs._later import later
from recbatch import _threads


@pytest.mark.parametrize("rows", [0, 1, 1 << 16, (1 << 16) + 1, 500_000])
def test_pieces_make_up_the_whole_once(rows):
    touched = np.zeros(rows, dtype=np.int8)

    def work(part):
        touched[part] += 1

    _threads.by_rows(work, rows)
    assert (touched == 1).all()


def test_two_pieces_of_work_give_what_they_give_in_order_and_raise_what_they_raise():
    assert _threads.both(lambda: 1, lambda: "two") == (1, "two")
    with pytest.raises(ZeroDivisionError):
        _threads.both(lambda: 1, lambda: 1 / 0)


def test_work_beside_other_work_is_waited_for_when_it_is_asked_for():
    gate = threading.Event()
    given, failed = later(lambda: gate.wait(10)), later(lambda: 1 / 0)
    gate.set()
    assert given() is given() is True
    with pytest.raises(ZeroDivisionError):
        failed()
