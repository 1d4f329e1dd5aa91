"""Every way of searching gives the same bits on any machine: with its own instructions, or loops in their places."""

import numpy as np
import pytest

from tests.unit import test_index, test_leaves
from tests.unit.test_index import random_exclusions
from tests.unit.ways import WAYS


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
