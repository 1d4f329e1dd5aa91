"""The rules every source obeys: a fault is one line that stops the night, or a counted row in the quarantine.

Of a row with several faults the first in the order of `ledger.REASONS` is told (titles and duplicates last). Shares
are of the rows read, before events on or after the run date are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import _ids, _threads, schemas
from recbatch.config import Source
from recbatch.contracts import Bools, SourceTables
from recbatch.errors import DataError
from recbatch.sources import columns
from recbatch.sources.events import read_events, repeats
from recbatch.sources.kept import Kept
from recbatch.sources.ledger import Codes, Ledger, mark
from recbatch.sources.parts import AnyPart, Part, RawTables
from recbatch.sources.times import micros_of

_TABLES = ("interactions", "items", "users")


def clean(raw: RawTables, settings: Source, *, before: date, today: date, kept: Kept | None = None) -> SourceTables:
    """Checks what was read and brings it into the contract's columns.

    Args:
        raw: the tables as read.
        settings: unit of numeric times, and how many rows may be rejected.
        before: the run date; events on or after it are cut and counted.
        today: the real date; events after the day behind it are impossible.
        kept: takes the checked rows of partitions; none: nothing is kept.

    Returns:
        Clean tables. `counts` holds rows read per table, rows per reason and `after_run_date`.

    Raises:
        DataError: a column is missing or of a wrong type, too many rows are rejected, or nothing is left.
    """
    ledger = Ledger()
    share = settings.max_quarantined_share
    items = _items(raw.items, ledger, share)
    users = _users(raw.users, ledger, share)
    events = read_events(raw.interactions, settings.time_unit, today, kept)
    item_codes, user_codes = _threads.both(
        lambda: _ids.positions(events.table["item_id"], items["item_id"].combine_chunks()),
        lambda: _ids.places(_ids.encoded(events.table["user_id"])),
    )
    mark(events.codes, item_codes < 0, "unknown_item")
    mark(events.codes, repeats(events, user_codes, item_codes), "duplicate_event")
    ledger.record("interactions", raw.interactions, events.codes, share)
    good = events.table.filter(pa.array(events.codes == 0)) if events.codes.any() else events.table
    interactions = _with_types(good, schemas.INTERACTIONS)
    counts = {**ledger.counts, "after_run_date": 0}
    spelled = {name: _columns(getattr(raw, name)) for name in _TABLES}
    everything = SourceTables(
        interactions, items, users, ledger.quarantine(), raw.inputs, raw.merge_by_title, counts, spelled
    )
    return earlier(everything, before)


def earlier(tables: SourceTables, before: date) -> SourceTables:
    """What a reading for an earlier date would have given.

    Args:
        tables: of a reading for this date or a later one; not changed.
        before: the run date; events on or after it are cut and counted.

    Raises:
        DataError: nothing is left.
    """
    times = tables.interactions["occurred_at"].cast(pa.int64())
    early = pc.fill_null(pc.less(times, micros_of(before)), True)
    interactions = tables.interactions if pc.all(early).as_py() else tables.interactions.filter(early)
    late = tables.counts["after_run_date"] + tables.interactions.num_rows - interactions.num_rows
    if interactions.num_rows == 0:
        raise DataError(
            f"no usable event before {before}: {tables.counts['interactions']} read, {late} of them on or after that"
            " date; check --run-date and the source"
        )
    return replace(tables, interactions=interactions, counts=tables.counts | {"after_run_date": late})


def _columns(parts: Sequence[AnyPart]) -> dict[str, str]:
    """Column → type as read; where files differ, every type."""
    types: dict[str, set[str]] = {}
    for part in parts:
        for field in part.schema:
            types.setdefault(field.name, set()).add(_spelled(field.type))
    return {name: " or ".join(sorted(types[name])) for name in sorted(types)}


def _spelled(kind: pa.DataType) -> str:
    """A type without what only says how it is stored."""
    if pa.types.is_dictionary(kind):
        return _spelled(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list<{_spelled(kind.value_type)}>"
    return str(kind).removeprefix("large_")


def _items(parts: Sequence[Part], ledger: Ledger, share: float) -> pa.Table:
    pieces = []
    for part in parts:
        columns.require(part, ("item_id", "title"))
        have = part.table.column_names
        genres = columns.labels(part, "genres") if "genres" in have else _nulls(part, pa.list_(pa.string()))
        named = {"item_id": columns.ids(part, "item_id"), "title": columns.text(part, "title"), "genres": genres}
        pieces.append(pa.table({**named, **_extras(part, schemas.SOURCE_ITEMS, schemas.ITEMS)}))
    table = _joined(parts, pieces, "items")
    codes = _listed_once(table["item_id"], "duplicate_item")
    untitled = np.asarray(pc.is_null(table["title"]), np.bool_)
    mark(codes, untitled, "missing_title")
    ledger.record("items", parts, codes, share)
    kept = _kept_rows(codes, "missing_title")
    table = table.set_column(1, "title", pc.coalesce(table["title"], table["item_id"])).filter(pa.array(kept))
    if table.num_rows == 0:
        raise DataError(f"{parts[0].name}: no usable item among {len(codes)} rows; the catalogue cannot be empty")
    return _with_types(table, schemas.SOURCE_ITEMS)


def _users(parts: Sequence[Part], ledger: Ledger, share: float) -> pa.Table:
    pieces = []
    for part in parts:
        columns.require(part, ("user_id",))
        extras = _extras(part, schemas.SOURCE_USERS, schemas.USERS)
        pieces.append(pa.table({"user_id": columns.ids(part, "user_id"), **extras}))
    if not pieces:
        return schemas.arrow(schemas.SOURCE_USERS).empty_table()
    table = _joined(parts, pieces, "users")
    codes = _listed_once(table["user_id"], "duplicate_user")
    ledger.record("users", parts, codes, share)
    return _with_types(table.filter(pa.array(codes == 0)), schemas.SOURCE_USERS)


def _listed_once(ids: pa.ChunkedArray, duplicate: str) -> Codes:
    """Codes that mark bad ids, and every row but the first of an id."""
    codes: Codes = np.zeros(len(ids), np.int8)
    encoded = _ids.encoded(ids)
    columns.mark_bad_ids(codes, encoded)
    good = np.flatnonzero(codes == 0)
    positions = _ids.places(encoded)[good]
    first = np.zeros(len(ids), np.bool_)
    first[good[np.unique(positions, return_index=True)[1]]] = True
    mark(codes, ~first, duplicate)
    return codes


def _kept_rows(codes: Codes, repaired: str) -> Bools:
    """Rows without fault or with a fault that was put right in place."""
    put_right: Codes = np.zeros(1, np.int8)
    mark(put_right, np.ones(1, np.bool_), repaired)
    return np.isin(codes, [0, put_right[0]])


def _extras(part: Part, read: schemas.Table, written: schemas.Table) -> dict[str, pa.ChunkedArray]:
    """The user's own columns."""
    reserved = set(written.column_names) - set(read.column_names)
    names = [name for name in part.table.column_names if name not in read.column_names]
    for name in names:
        if name in reserved:
            raise DataError(f"{part.name}: column {name} is a name of recbatch's own {written.name}; rename the column")
    return {name: part.table[name] for name in names}


def _joined(parts: Sequence[Part], pieces: list[pa.Table], name: str) -> pa.Table:
    try:
        return pa.concat_tables(pieces, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        files = f"{parts[0].name} … {parts[-1].name}"
        reason = str(error).splitlines()[0]
        raise DataError(f"{name}: the files {files} disagree: {reason}; give the column one type") from error


def _with_types(table: pa.Table, wanted: schemas.Table) -> pa.Table:
    """The contract's columns with its types and null rules, extra columns behind them."""
    named = schemas.arrow(wanted)
    extras = [pa.field(f.name, f.type) for f in table.schema if f.name not in wanted.column_names]
    return table.select([*named.names, *(f.name for f in extras)]).cast(pa.schema([*named, *extras]))


def _nulls(part: Part, kind: pa.DataType) -> pa.Array:
    return pa.nulls(part.table.num_rows, kind)
