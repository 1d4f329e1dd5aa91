"""Work on all cores."""

import numpy as np
import pytest

from recbatch import _threads


@pytest.mark.parametrize("rows", [0, 1, 1 << 16, (1 << 16) + 1, 500_000])
def test_pieces_make_up_the_whole_once(rows):
    touched = np.zeros(rows, dtype=np.int8)

    def work(part):
        touched[part] += 1

    _threads.by_rows(work, rows)
    assert (touched == 1).all()
