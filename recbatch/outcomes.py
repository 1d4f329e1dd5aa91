"""How good published lists were by what people did next: rows of `realised` to rows of `realised_metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import metrics, schemas
from recbatch.contracts import Bools, Int32s, Json
from recbatch.metrics import Float64s

HORIZONS = (1, 3, 7, 14, 30)
"""Days from the run date on, each judged when it is over."""
_CUT_OFFS = (10, 20, 100)
UNKNOWN = "unknown"
"""Status of a user whom the run did not know; they got what is popular."""


_Column = tuple[str, int, str, Float64s]
"""Metric, cut-off, source, value of each user."""


def horizons_over(run_date: date, until: date) -> tuple[int, ...]:
    """The horizons of a run that are over on a day: all their events lie before it."""
    return tuple(days for days in HORIZONS if (until - run_date).days >= days)


def measure(
    realised: pa.Table, *, run_id: str, run_date: date, k: int, horizons: Sequence[int], samples: int, seed: int
) -> pa.Table:
    """Realised metrics by horizon, segment and source, per user first, then averaged.

    A user counts in a horizon with the events of its days; who got nothing counts with zeros. Under a source, only rows
    of that source are hits, at the rank at which they stood, so that recall adds up over sources; other segments than
    `all` and `status=…` are not split by source.

    Args:
        realised: columns of `schemas.REALISED`.
        run_id: the run that is judged.
        run_date: its date.
        k: rows that the run promised.
        horizons: days, ascending.
        samples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        `schemas.REALISED_METRICS`, sorted by its key; no rows for a horizon without events.
    """
    rows = [
        {"run_id": run_id, "run_date": run_date, "horizon_days": days, **row}
        for days in horizons
        for row in _horizon(_Pairs.of(realised, days), k, samples, seed)
    ]
    table = pa.Table.from_pylist(rows, schema=schemas.arrow(schemas.REALISED_METRICS))
    return table.sort_by([(name, "ascending") for name in schemas.REALISED_METRICS.sorted_by])


class _Pairs:
    """The pairs of one horizon, users numbered from 0."""

    def __init__(self, realised: pa.Table) -> None:
        users = realised["user_id"].combine_chunks().dictionary_encode()
        self.user_of: Int32s = users.indices.to_numpy()
        self.users = len(users.dictionary)
        self.ranks: Int32s = realised["rank"].fill_null(0).to_numpy().astype(np.int32)
        self.sources = np.asarray(realised["source"].fill_null("").to_pylist(), dtype=object)
        _, first = np.unique(self.user_of, return_index=True)
        self.statuses = np.asarray(realised["status"].to_pylist(), dtype=object)[first]
        self.served: Bools = realised["served"].to_numpy()[first] > 0
        self.groups = realised["segments"].take(pa.array(first)).combine_chunks()

    @classmethod
    def of(cls, realised: pa.Table, days: int) -> _Pairs:
        return cls(realised.filter(pa.array(realised["day"].to_numpy() <= days)))

    def segments(self) -> dict[str, Bools]:
        """Those that are split by source as well."""
        named = {f"status={status}": self.statuses == status for status in (*schemas.STATUSES, UNKNOWN)}
        return {name: mask for name, mask in ({"all": np.ones(self.users, bool)} | named).items() if mask.any()}

    def further_segments(self) -> dict[str, Bools]:
        """Those that are not."""
        owners = pc.list_parent_indices(self.groups).to_numpy()
        names = pc.list_flatten(self.groups).dictionary_encode()
        members = names.indices.to_numpy()
        found = {}
        for number, name in sorted(enumerate(names.dictionary.to_pylist()), key=lambda pair: str(pair[1])):
            found[name] = np.zeros(self.users, dtype=np.bool_)
            found[name][owners[members == number]] = True
        return found

    def columns(self, k: int) -> Iterator[_Column]:
        """Every figure, per user."""
        cut_offs = sorted({cut for cut in _CUT_OFFS if cut <= k} | {k})
        for source in ("all", *(name for name in schemas.SOURCES if (self.sources == name).any())):
            ranks = np.where((source == "all") | (self.sources == source), self.ranks, 0).astype(np.int32)
            for metric, per_user in metrics.PER_USER.items():
                for cut in cut_offs:
                    yield metric, cut, source, per_user(ranks, self.user_of, self.users, cut)
        yield "served", k, "all", self.served.astype(np.float64)


def _horizon(pairs: _Pairs, k: int, samples: int, seed: int) -> Iterator[Json]:
    if not pairs.users:
        return
    every = list(pairs.columns(k))
    overall = [column for column in every if column[2] == "all"]
    segments = [(every, pairs.segments()), (overall, pairs.further_segments())]
    for columns, members in segments:
        yield from _means(pairs, columns, members, samples, seed)


def _means(
    pairs: _Pairs, columns: Sequence[_Column], segments: dict[str, Bools], samples: int, seed: int
) -> Iterator[Json]:
    values = np.stack([column[3] for column in columns], axis=1)
    for segment, mask in segments.items():
        low, high = metrics.bootstrap_intervals(values[mask], samples, seed)
        means = values[mask].mean(axis=0)
        for place, (metric, cut, source, _) in enumerate(columns):
            yield {
                "metric": metric,
                "k": cut,
                "segment": segment,
                "source": source,
                "value": float(means[place]),
                # The percentile of a constant may differ from its mean in the last bit.
                "ci_low": float(min(low[place], means[place])),
                "ci_high": float(max(high[place], means[place])),
                "users": int(mask.sum()),
                "users_without_list": int((mask & ~pairs.served).sum()),
            }
