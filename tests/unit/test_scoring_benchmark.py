"""What the benchmark of scoring compares with: peers that leave out what is seen, and lines for those that are missing."""

import numpy as np

from jobs import _scoring_benchmark, _scoring_peers
from recbatch.index import ExactIndex


def test_a_peer_that_fetches_more_leaves_out_what_is_seen_and_agrees_with_exact_search():
    world = _scoring_benchmark.vectors(50, 900)
    fetched: list[int] = []

    def fetch(queries, wanted):
        fetched.append(wanted)
        return np.argsort(-(queries @ world.candidates.T), axis=1, kind="stable")[:, :wanted]

    found = _scoring_peers.overfetched(fetch, world.queries, world.seen, 20, 900)
    truth, _ = ExactIndex(world.candidates).search(world.queries, 20, world.seen)
    np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(truth, axis=1))
    assert len(set(fetched)) > 1


def test_a_missing_peer_is_one_line_with_the_cure(monkeypatch):
    monkeypatch.setitem(_scoring_peers._LIBRARIES, "hnswlib", "no_such_library")
    lines = _scoring_peers.missing(("hnswlib",))
    assert "pip install 'recbatch[bench]'" in lines["hnswlib"]
    assert "\n" not in lines["hnswlib"]
