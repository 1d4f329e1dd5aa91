"""The loops of search put together and compiled: one for each way in which a machine may make products."""

from __future__ import annotations

from typing import Any

from recbatch.index import _loops, _pairs, _passes
from recbatch.kernels import Kernel, leaf, part


def _key_of_pair() -> tuple[Any, Any]:
    from recbatch._vectors import lane_sums

    return leaf(_pairs.dot(lane_sums)), leaf(_pairs.key)


def _bound() -> Any:
    from recbatch import _vectors as vectors

    return part(
        _loops.bound(vectors.at_least, vectors.ones, vectors.highest, leaf(_loops.ordered), leaf(_loops.unordered))
    )


def _keys(name: Any) -> Any:
    from recbatch._vectors import fetch

    dot, key = _key_of_pair()
    best = _pairs.best_scored(part(_pairs.score_listed(dot, fetch)), _bound(), leaf(_loops.drop_below))
    return _pairs.keys(leaf(best), key, leaf(name), leaf(_loops.last_kept))


def _way(over: Any, name: Any) -> dict[str, Any]:
    """A pass of `_passes` in each way in which a machine may make products, to be compiled when called."""

    def made(begin: Any, put: Any, products: Any, end: Any, of: _loops.Measures) -> Any:
        from recbatch import _vectors as vectors

        exclude, maxima, drop = (leaf(loop) for loop in (_loops.exclude(of.nothing), _loops.maxima, _loops.drop_below))
        keep_best = leaf(_loops.keep_best(*_key_of_pair(), leaf(name), leaf(_loops.last_kept)))
        least, score = leaf(of.least), leaf(of.score)
        append = vectors.append or leaf(_loops.append(vectors.at_least, vectors.first_bit, score))
        select = _loops.select(
            exclude, maxima, _bound(), vectors.any_at_least, append, drop, keep_best,
            _loops.Measures(of.nothing, least, score),
        )  # fmt: skip
        return over(begin, leaf(put), products, part(select), end)

    def floats() -> Any:
        from recbatch._vectors import products

        begin, end = leaf(_passes.nothing_to_begin), leaf(_passes.nothing_to_end)
        return made(begin, _passes.put_columns, leaf(_passes.of_floats(products)), end, _loops.SCORES)

    def bytes_() -> Any:
        from recbatch._vectors import byte_products

        begin, end = leaf(_passes.nothing_to_begin), leaf(_passes.nothing_to_end)
        return made(begin, _passes.put_columns, byte_products, end, _loops.SUMS)

    def tiles() -> Any:
        from recbatch import _tiles

        return made(_tiles.begin, _passes.put_rows, _tiles.byte_products, _tiles.end, _loops.SUMS)

    return {"floats": floats, "bytes": bytes_, "tiles": tiles}


_ARGUMENTS = (
    "uint8[::1], float32[:,::1], float32[:,::1], int32[::1], {words}[:,:,::1], {words}[:,::1], int32[::1],"
    " float32[::1], float32[::1], {words}[:,:,::1], {words}[:,::1], int64[::1], int64, int64[::1], int32[::1],"
    " float32[::1], float32[:,::1], int32[:,::1], int64[::1], float32[::1], int64[::1], float32[:,::1], uint64[::1]"
)


def in_each_way(name: str, over: Any, names: Any, besides: str = "") -> dict[str, Kernel]:
    return {
        way: Kernel(
            f"{name}_{way}",
            f"int64({_ARGUMENTS.format(words='float32' if way == 'floats' else 'int32')}{besides})",
            loop,
        )
        for way, loop in _way(over, names).items()
    }


SEARCH = in_each_way("search", _passes.search, _pairs.itself)
VISIT = in_each_way("visit", _passes.visit, _pairs.named, ", int64[::1], int64[::1], int64[::1]")
VISITORS = Kernel("visitors", "void(int32[:,::1], int64[::1], int64[::1], int64[::1])", lambda: _passes.list_visitors)
THERE = Kernel(
    "excluded_there",
    "int64(int32[:,::1], int64[::1], int64[::1], int32[::1], int32[::1], int32[::1], uint8[::1], uint64[::1])",
    lambda: _passes.excluded_there,
)
_PAIRS = "float32[:,::1], float32[:,::1]"
SCORES = Kernel(
    "scores", f"void({_PAIRS}, int64[::1], int32[::1], float32[::1])", lambda: _pairs.score(_key_of_pair()[0])
)
_TO_KEYS = (
    f"void({_PAIRS}, int32[::1], float32[:,::1], int32[:,::1], int64[::1], float32[::1], float32[::1], int64, int64,"
    " float32[:,::1], int32[:,::1], uint64[::1], uint64[:,::1])"
)
KEYS = Kernel("keys", _TO_KEYS, lambda: _keys(_pairs.itself))
KEYS_NAMED = Kernel("keys_named", _TO_KEYS, lambda: _keys(_pairs.named))
KEYS_AMONG = Kernel(
    "keys_among",
    f"void({_PAIRS}, int32[:,::1], float32[:,::1], int64, float32[::1], int64[::1], int64[::1], int32[::1],"
    " uint64[:,::1], int64[::1])",
    lambda: _pairs.keys_among(*_key_of_pair()),
)
