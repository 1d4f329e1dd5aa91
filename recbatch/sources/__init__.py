"""Where interactions, items and users come from: one `read` for every source, one set of rules for what it may hold."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from recbatch.config import Source
from recbatch.contracts import Progress, SourceTables, no_progress
from recbatch.sources import uri as uris
from recbatch.sources.clean import clean, earlier
from recbatch.sources.duckdb import read_duckdb
from recbatch.sources.files import read_files, read_table, rows_of_files
from recbatch.sources.importing import ImportReport, import_data
from recbatch.sources.kept import Kept
from recbatch.sources.parts import RawTables
from recbatch.sources.recbole import read_recbole
from recbatch.sources.sample import about_events, read_sample
from recbatch.sources.tfds import read_movielens

__all__ = ["ImportReport", "Kept", "about_rows", "earlier", "import_data", "read", "read_table"]


def about_rows(source: Source, before: date) -> int:
    """Rows of interactions that a reading would hold, without reading them: from Parquet's footers, or sizes of files.

    Args:
        source: which one.
        before: the run date.

    Returns:
        About how many; 0 where that cannot be told.
    """
    kind, _, rest = source.uri.partition(":")
    if kind == "files" and Path(rest).expanduser().is_dir():
        return rows_of_files(Path(rest).expanduser())
    if kind == "sample":
        return about_events(uris.world_of(rest), before)
    return 0


def read(
    source: Source, *, before: date, today: date, progress: Progress = no_progress, kept: Kept | None = None
) -> SourceTables:
    """Reads a source and checks it.

    Args:
        source: which one, and how lenient to be.
        before: the run date; events on or after it are cut and counted.
        today: the real date; events more than a day after it are faults.
        progress: called as files or days are done.
        kept: where checked rows of `files:` partitions stay from night to night; none: every file is parsed, and
            nothing is written.

    Returns:
        Clean tables with an account of what was rejected, repaired and cut.

    Raises:
        UsageError: `source.uri` names no source.
        InputMissing: a file or table that it needs is not there.
        DataError: the input breaks its contract beyond `source.max_quarantined_share`, or nothing usable is left.
    """
    raw = _read_raw(source, before, progress, kept)
    if source.uri.partition(":")[0] == "sample":
        today = max(today, before)  # the generated calendar is ahead of ours
    tables = clean(raw, source, before=before, today=today, kept=kept)
    if kept:
        kept.drop_unused()
    return tables


def _read_raw(source: Source, before: date, progress: Progress, kept: Kept | None) -> RawTables:
    kind, colon, rest = source.uri.partition(":")
    if kind == "sample" and bool(rest) == bool(colon):
        return read_sample(uris.world_of(rest), before, progress)
    if kind == "recbole" and rest:
        return read_recbole(Path(rest).expanduser(), progress)
    if kind == "files" and rest:
        return read_files(Path(rest).expanduser(), progress, source.time_unit, kept)
    if kind == "duckdb" and rest:
        return read_duckdb(Path(rest).expanduser(), progress)
    family, _, release = source.uri.partition("/")
    if family == "movielens" and release in uris.MOVIELENS:
        return read_movielens(release, Path(source.data_dir) if source.data_dir else None, progress)
    raise uris.unknown(source.uri)
