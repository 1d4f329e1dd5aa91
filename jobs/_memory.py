"""Preflight: what a night will hold in memory, refused before the work begins where the budget is smaller."""

from __future__ import annotations

import ctypes
import os
from datetime import date
from pathlib import Path

import pyarrow as pa

from recbatch import index, sources
from recbatch.config import Config, memory_bytes
from recbatch.contracts import Dataset, is_constant
from recbatch.errors import ConfigError

_MIB = 2**20
_PROGRAM = 900 * _MIB
"""Python, TensorFlow and ScaNN with nothing loaded: 600 to 870 MiB seen at peak on MovieLens 100K."""
_PROGRAM_EXACT = 320 * _MIB
"""The same without TensorFlow: a night that reloads its model and searches exactly."""
_PROGRAM_READ = 220 * _MIB
"""Python, NumPy, Arrow and DuckDB."""
_BYTES_PER_EVENT_READ = 95
"""While rows are read and checked, ids of six characters: 85 seen of 22 million in Parquet."""
_LEAST_FOR_CHECKS = 256 * _MIB
"""What DuckDB gets in any case."""
_SHARE_FOR_CHECKS = 0.85
"""Of what is left: DuckDB took 6 % more than its limit at 10 million users."""
_CHECK_BYTES = {"event": 60, "row": 25}
"""What checks hold unless they have to spill: seen pairs to join with, and the lists of all users."""
_LOOKUP_ROWS, _LOOKUP_BYTES_PER_ROW = 2_000_000, 150
"""What is held for `lookup.arrow`, which is written beside the checks: the rows of a batch at most."""
_BYTES_PER_SEEN = 5
"""Of an event as checks see it: its user's number and whether it bars its title; items are those of the events."""
_BYTES_PER_EVENT = 24
"""Offset share, item, time, weight and rating of `contracts.Events`; four less for a column that is constant."""
_COPIES_OF_EVENTS = 5
"""All events, those a judged model may see, those encoded for the model, those held out, and what is held while these
are picked."""
_SCORE_BLOCK = 3 * 32 * _MIB
"""Per core: the block of scores, its maxima or survivors, and finalists gathered; see recbatch/index/exact.py."""
_BYTES_PER_CELL = 60
"""Of a batch of lists as rows of text on the way to their file; as arrays it is 13: position, score, source, reason."""
_BYTES_PER_KEPT_ROW = 100
"""Of the parent's lists while they are read: text as places, and where each row belongs; see jobs/_kept.py."""
_BATCHES_READ = 4
"""Batches whose rows are read from the parent at once."""
_BATCHES = 4
"""Ranked batches that wait for the writer, the one it writes, and the one being ranked; see jobs/_shards.py."""

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""What `mallopt` of glibc sets; malloc.h."""


def keep_freed() -> None:
    """Lets what arrays and tables free serve the next ones, instead of going back to the system each time.

    Large ones come and go all night, and every page that the system hands out again is cleared first, on virtual
    machines fetched from the host too: 11 of 98 s of a night of 23 million events. The peak is the same; `left` gives
    back.
    """
    malloc = ctypes.CDLL(None)
    if hasattr(malloc, "mallopt"):
        malloc.mallopt(_MMAP_MAX, 0)
        malloc.mallopt(_TRIM_THRESHOLD, -1)
        pa.set_memory_pool(pa.system_memory_pool())


def predict(data: Dataset, config: Config, *, trains: bool = True) -> dict[str, int]:
    """Bytes that a night will hold at its peak, by what holds them.

    Args:
        data: tonight's.
        config: settings.
        trains: whether it may train; if not, and search is exact, TensorFlow stays out.
    """
    exact = config.index.engine in ("auto", "exact") and not _may_approximate(data, config)
    ids = data.user_ids.nbytes + data.users.nbytes + data.items.nbytes + data.item_ids.nbytes
    constant = sum(is_constant(column) for column in (data.events.weights, data.events.ratings))
    events = len(data.events.items) * (_BYTES_PER_EVENT - 4 * constant) * _COPIES_OF_EVENTS
    # Both towers: with gradient and two moments of Adam, or judged and served, each in parts and put together.
    weights = 4 * data.num_items * config.train.embedding_dim * 2 * 4
    logits = 3 * 4 * config.train.batch_size * data.num_items
    parts = {
        "program": _PROGRAM_EXACT if exact and not trains else _PROGRAM,
        "ids and features": ids,
        "events": events,
        "histories, for the checks": len(data.events.items) * _BYTES_PER_SEEN,
        "model": weights + logits if trains else weights,
        "scoring": _scoring(data, config),
    }
    # By then lists are written, and of the copies of the events one is left.
    before_checks = sum(parts.values()) - parts["scoring"] - events + events // _COPIES_OF_EVENTS
    before_checks += _lookup(data.num_users, config)
    return parts | {"checks": max(0, before_checks + _checks(data, config, before_checks) - sum(parts.values()))}


def _checks(data: Dataset, config: Config, held: int) -> int:
    """What DuckDB takes for the checks beside what the night holds by then."""
    rows = data.num_users * (config.score.k + config.score.buffer)
    wanted = len(data.events.items) * _CHECK_BYTES["event"] + rows * _CHECK_BYTES["row"]
    return min(wanted, _for_checks(config, held))


def _lookup(users: int, config: Config) -> int:
    rows = users * (config.score.k + config.score.buffer)
    return min(rows, _LOOKUP_ROWS) * _LOOKUP_BYTES_PER_ROW


def _for_checks(config: Config, held: int) -> int:
    left = memory_bytes(config.score.memory_budget) - held
    return max(_LEAST_FOR_CHECKS, int(_SHARE_FOR_CHECKS * left))


def _may_approximate(data: Dataset, config: Config) -> bool:
    dim = config.train.embedding_dim + 1
    return index.exact_seconds(data.num_users, data.num_items, dim) >= config.index.exact_seconds


def _scoring(data: Dataset, config: Config) -> int:
    batch = min(data.num_users, config.score.users_per_batch) * (config.score.k + config.score.buffer)
    keeps = config.score.reuse and config.score.fashion == "trained"
    kept = min(_BATCHES_READ, -(-data.num_users // config.score.users_per_batch)) * _BYTES_PER_KEPT_ROW if keeps else 0
    # The candidates, and once more as the compiled search reads them; in leaves, in their order too.
    copies = 3 if _may_approximate(data, config) else 2
    candidates = copies * 4 * data.num_items * (config.train.embedding_dim + 1)
    return candidates + _SCORE_BLOCK * len(os.sched_getaffinity(0)) + batch * (13 * _BATCHES + _BYTES_PER_CELL + kept)


def require_to_read(config: Config, run_date: date) -> None:
    """Refuses input that cannot be read within the budget, before any of it is read.

    Raises:
        ConfigError: reading it would exceed `score.memory_budget`; the line has the figures.
    """
    rows, budget = sources.about_rows(config.source, run_date), memory_bytes(config.score.memory_budget)
    total = _PROGRAM_READ + rows * _BYTES_PER_EVENT_READ
    if rows and total > budget:
        raise ConfigError(
            f"reading about {rows:,} interactions takes {total // _MIB} MiB ({_BYTES_PER_EVENT_READ} bytes each),"
            f" --memory-budget allows {budget // _MIB} MiB: raise it to {-(-total // 2**30)}GiB or give the night fewer"
            " events"
        )


def left(users: int, config: Config) -> int:
    """What DuckDB may have before it spills to disk: most of `score.memory_budget` that nothing else holds by then."""
    pa.default_memory_pool().release_unused()  # of the system's pool: malloc_trim
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return _for_checks(config, pages * os.sysconf("SC_PAGE_SIZE") + _lookup(users, config))


def require(data: Dataset, config: Config) -> int:
    """The predicted peak in bytes.

    Raises:
        ConfigError: it exceeds `score.memory_budget`; the line has the figures.
    """
    parts = predict(data, config)
    total, budget = sum(parts.values()), memory_bytes(config.score.memory_budget)
    if total > budget:
        figures = ", ".join(f"{name} {size // _MIB} MiB" for name, size in parts.items())
        raise ConfigError(
            f"this night needs about {total // _MIB} MiB ({figures}), --memory-budget allows {budget // _MIB} MiB:"
            f" raise it to {-(-total // 2**30)}GiB or give the night fewer events"
        )
    return total
