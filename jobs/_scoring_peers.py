"""Searches made elsewhere, behind one call: fetch so many per query. Peers of `recbatch benchmark scoring`."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from recbatch import _tensorflow
from recbatch.contracts import Bools, Exclusions, Float32s, Int64s

Fetch = Callable[[Float32s, int], Int64s]
"""(queries, wanted) → positions, shape (queries, wanted), best first, -1 where there is none."""

_LIBRARIES = {
    "faiss_flat": "faiss",
    "faiss_flat_filtered": "faiss",
    "implicit": "implicit",
    "usearch_exact": "usearch",
    "tfrs_brute_force": "tensorflow_recommenders",
    "tfrs_scann": "scann",
    "faiss_ivf": "faiss",
    "hnswlib": "hnswlib",
}
EXACT = ("faiss_flat", "faiss_flat_filtered", "implicit", "usearch_exact", "tfrs_brute_force")
APPROXIMATE = ("faiss_ivf", "tfrs_scann", "hnswlib")


def missing(names: tuple[str, ...]) -> dict[str, str]:
    """One line with the cure for each peer that is not installed."""
    return {
        name: f"{name} is left out: the library `{_LIBRARIES[name]}` is not installed; pip install 'recbatch[bench]'"
        for name in names
        if importlib.util.find_spec(_LIBRARIES[name]) is None
    }


def overfetched(fetch: Fetch, queries: Float32s, seen: Exclusions, k: int, num_items: int) -> Int64s:
    """The first k that are not seen, by fetching more: as many as the heaviest user of each bucket (powers of two) saw.

    Returns:
        Shape (queries, k), -1 where too few are left.
    """
    counts = np.diff(seen.offsets)
    bucket = np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64)
    best = np.full((len(queries), k), -1, dtype=np.int64)
    keys = np.repeat(np.arange(len(counts)), counts) * num_items + seen.items
    for level in np.unique(bucket):
        rows = np.flatnonzero(bucket == level)
        found = np.asarray(fetch(queries[rows], min(num_items, k + int(counts[rows].max()))))
        open_ = (found >= 0) & ~_among(keys, rows[:, None] * num_items + found)
        place = np.cumsum(open_, axis=1) - 1
        row, column = np.nonzero(open_ & (place < k))
        best[rows[row], place[row, column]] = found[row, column]
    return best


def _among(keys: Int64s, wanted: Int64s) -> Bools:
    if len(keys) == 0:
        return np.zeros(wanted.shape, dtype=np.bool_)
    return np.asarray(keys[np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)] == wanted)


def exact(name: str, candidates: Float32s, threads: int) -> Callable[[Float32s, Exclusions, int], Any]:
    """An exact peer as (queries, seen, k) → positions; `faiss_flat` alone does not look at what is seen."""
    items = len(candidates)
    if name.startswith("faiss"):
        flat = _flat(candidates, threads)
        if name == "faiss_flat":
            return lambda queries, seen, k: flat(queries, k)
        return lambda queries, seen, k: overfetched(flat, queries, seen, k, items)
    if name == "implicit":
        return _implicit(candidates, threads)
    fetch = _usearch(candidates, threads) if name == "usearch_exact" else _tfrs_brute_force(candidates)
    return lambda queries, seen, k: overfetched(fetch, queries, seen, k, items)


def approximate(name: str, candidates: Float32s, threads: int) -> Callable[[int], Fetch]:
    """An approximate peer as effort → fetch; built once, more effort finds more."""
    return {"faiss_ivf": _ivf, "tfrs_scann": _tfrs_scann, "hnswlib": _hnsw}[name](candidates, threads)


def _flat(candidates: Float32s, threads: int) -> Fetch:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(candidates.shape[1])
    index.add(candidates)
    return lambda queries, wanted: index.search(queries, wanted)[1]


def _implicit(candidates: Float32s, threads: int) -> Callable[[Float32s, Exclusions, int], Any]:
    from implicit.cpu.topk import topk
    from scipy.sparse import csr_matrix

    def search(queries: Float32s, seen: Exclusions, k: int) -> Any:
        shape = (len(queries), len(candidates))
        filtered = csr_matrix((np.ones(len(seen.items), np.float32), seen.items, seen.offsets), shape=shape)
        return topk(candidates, queries, k, filter_query_items=filtered, num_threads=threads)[0]

    return search


def _usearch(candidates: Float32s, threads: int) -> Fetch:
    from usearch.index import MetricKind, search

    def fetch(queries: Float32s, wanted: int) -> Int64s:
        found = search(candidates, queries, wanted, MetricKind.IP, exact=True, threads=threads)
        return np.asarray(found.keys).astype(np.int64).reshape(len(queries), -1)

    return fetch


def _tfrs_brute_force(candidates: Float32s) -> Fetch:
    layers = _tensorflow.recommenders().layers.factorized_top_k
    index = layers.BruteForce().index(candidates)

    def fetch(queries: Float32s, wanted: int) -> Int64s:
        parts = [index(queries[start : start + 1024], k=wanted)[1].numpy() for start in range(0, len(queries), 1024)]
        return np.concatenate(parts).astype(np.int64)

    return fetch


def _ivf(candidates: Float32s, threads: int) -> Callable[[int], Fetch]:
    import faiss

    faiss.omp_set_num_threads(threads)
    lists = max(1, int(np.sqrt(len(candidates))))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(candidates.shape[1]), candidates.shape[1], lists, faiss.METRIC_INNER_PRODUCT
    )
    index.train(candidates[:: max(1, len(candidates) // (lists * 64))])
    index.add(candidates)

    def at(effort: int) -> Fetch:
        index.nprobe = min(lists, max(1, lists * effort // 64))
        return lambda queries, wanted: index.search(queries, wanted)[1]

    return at


def _tfrs_scann(candidates: Float32s, threads: int) -> Callable[[int], Fetch]:
    """ScaNN as TFRS's layer uses it: leaves and reordering are fixed when it is built."""
    layers = _tensorflow.recommenders().layers.factorized_top_k

    def at(effort: int) -> Fetch:
        leaves = max(1, int(np.sqrt(len(candidates))))
        layer = layers.ScaNN(
            num_leaves=leaves,
            num_leaves_to_search=max(1, leaves * effort // 64),
            num_reordering_candidates=min(len(candidates), 400 * effort),
            parallelize_batch_searches=True,
        )
        layer.index(candidates)

        def fetch(queries: Float32s, wanted: int) -> Int64s:
            scores, found = layer(queries, k=wanted)
            return np.where(np.isfinite(scores.numpy()), found.numpy(), -1).astype(np.int64)

        return fetch

    return at


def _hnsw(candidates: Float32s, threads: int) -> Callable[[int], Fetch]:
    import hnswlib

    index = hnswlib.Index(space="ip", dim=candidates.shape[1])
    index.init_index(max_elements=len(candidates), M=16, ef_construction=100, random_seed=1)
    index.set_num_threads(threads)
    index.add_items(candidates)

    def at(effort: int) -> Fetch:
        def fetch(queries: Float32s, wanted: int) -> Int64s:
            index.set_ef(wanted + 100 * effort)
            return np.asarray(index.knn_query(queries, k=wanted)[0]).astype(np.int64)

        return fetch

    return at
