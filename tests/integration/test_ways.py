"""Every way of searching gives the same bits on any machine: with its own instructions, or loops in their places."""

import subprocess
import sys

import numpy as np
import pytest

from tests.unit import test_index, test_leaves
from tests.unit.test_index import random_exclusions
from tests.unit.ways import WAYS

PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from recbatch import kernels
from recbatch.index import ExactIndex
from recbatch.contracts import Exclusions
kernels.keep_in(Path(sys.argv[1]))
vectors = np.random.default_rng(0).normal(size=(500, 20)).astype(np.float32)
nothing = Exclusions.none(500)
found, scores = ExactIndex(vectors, compiled=True).search(vectors, 7, nothing)
print("numba" in sys.modules, found.sum(), scores.astype(np.float64).sum())
"""


@pytest.mark.parametrize("way", WAYS)
def test_all_candidates(way):
    generator = np.random.default_rng(0)
    for dim in (3, 65, 193):
        candidates = generator.normal(size=(700, dim)).astype(np.float32)
        queries = generator.normal(size=(60, dim)).astype(np.float32)
        candidates[200:400] = candidates[0]
        for k in (1, 100):
            exclude = random_exclusions(generator, 60, 700, 700)
            test_index.twins_agree(queries, candidates, k, exclude, [way])


@pytest.mark.parametrize("way", WAYS)
def test_candidates_in_leaves(way):
    for dim in (3, 65):
        test_leaves.all_leaves_are_exact_search(way, dim, 1000)
    test_leaves.twins_agree(way, 1000)


def test_a_search_compiled_by_one_process_is_run_by_the_next_without_numba(tmp_path):
    first, second = (
        subprocess.run([sys.executable, "-c", PROGRAM, tmp_path / "k"], capture_output=True, text=True, check=True)
        for _ in range(2)
    )
    assert first.stdout.startswith("True ")
    assert second.stdout == first.stdout.replace("True", "False")
