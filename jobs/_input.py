"""The input of a command that runs one date or many: read once, cut for each date."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from recbatch import dataset, publish, sources, withdrawn
from recbatch.config import Config, memory_bytes
from recbatch.contracts import Dataset, SourceTables
from recbatch.store import Lake

from ._items import leave_out
from ._say import Say, now

_HELD_SHARE = 4
"""One part in so many of the memory budget may hold input for further dates; a larger one is read for each date."""


@dataclass
class Input:
    """What a source holds, by run date; the source is read again for each date only where it has to be."""

    config: Config
    until: date
    """The last run date that will be asked for."""
    _held: SourceTables | None = field(default=None, init=False)

    def before(self, lake: Lake, run_date: date, say: Say) -> SourceTables:
        """The tables of a date, forgotten users left out; equal to those of a reading for this date alone.

        Args:
            lake: knows who is forgotten, and keeps checked rows of partitions.
            run_date: events on or after it are cut.
            say: hears of progress.

        Raises:
            RecbatchError: see `sources.read`.
        """
        forgotten = publish.forgotten(lake)
        tables = self._held or self._read(sources.Kept(lake, forgotten), run_date, say)
        return dataset.without_users(sources.earlier(tables, run_date), forgotten)

    def dataset(self, lake: Lake, run_date: date) -> Dataset:
        """What the night of a date makes of its tables.

        Raises:
            RecbatchError: see `sources.read` and `dataset.build`.
        """
        with Say() as say:
            tables = self.before(lake, run_date, say)
        merged = self.config.source.merge_by_title
        tables = leave_out(tables, withdrawn.read(lake), merge_by_title=merged)
        return dataset.build(tables, self.config.dataset, run_date, merge_by_title=merged)

    def _read(self, kept: sources.Kept, run_date: date, say: Say) -> SourceTables:
        source = self.config.source
        made_to_date = source.uri.partition(":")[0] == "sample"
        until = run_date if made_to_date else max(run_date, self.until)
        tables = sources.read(source, before=until, today=now().date(), progress=say.progress, kept=kept)
        size = sum(table.nbytes for table in (tables.interactions, tables.items, tables.users, tables.quarantine))
        if until > run_date and size * _HELD_SHARE <= memory_bytes(self.config.score.memory_budget):
            self._held = tables
        return tables
