"""Work on all cores."""

import threading
import time

import numpy as np
import pytest

from jobs._later import later
from recbatch import _threads
from recbatch.behind import behind


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


def test_what_is_written_behind_stays_in_order_is_bounded_and_fails_in_front():
    done, gate, started = [], threading.Event(), threading.Event()

    def wait(number):
        started.set()
        gate.wait()
        done.append(number)

    with behind(2) as call:
        call(wait, 0)
        call(wait, 1)
        started.wait()
        assert done == []
        gate.set()
        call(wait, 2)
        assert done[:1] == [0]
    assert done == [0, 1, 2]

    def refuse():
        raise OSError(28, "No space left on device")

    for waiting in (1, 2):
        with pytest.raises(OSError, match="No space"), behind(waiting) as call:
            call(refuse)
            call(done.append, 3)
            time.sleep(0.1)
        assert done == [0, 1, 2], "nothing is made behind what failed"


def test_work_beside_other_work_is_waited_for_when_it_is_asked_for():
    gate = threading.Event()
    given, failed = later(lambda: gate.wait(10)), later(lambda: 1 / 0)
    gate.set()
    assert given() is given() is True
    with pytest.raises(ZeroDivisionError):
        failed()
