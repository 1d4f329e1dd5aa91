"""RecBole atomic files: `NAME.inter`, `NAME.item` and optionally `NAME.user`, tab separated under `name:type`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch.contracts import InputFile, Progress
from recbatch.errors import DataError, InputMissing
from recbatch.sources.csv_text import read_text_table
from recbatch.sources.parts import Part, RawTables, describe_file

_TYPES = ("token", "token_seq", "float", "float_seq")
_TITLES = ("movie_title", "title", "item_name", "name")
_YEARS = ("release_year", "year")
_GENRES = ("class", "genre", "genres", "categories")
_WEIGHTS = ("weight", "count")
_MOVIELENS = ("ml-", "movielens")


def read_recbole(folder: Path, progress: Progress) -> RawTables:
    """Reads a folder of atomic files.

    Args:
        folder: holds one `.inter` file and the `.item` (and `.user`) of the same name.
        progress: called with the files read.

    Returns:
        Tables under the contract's names: `timestamp` becomes `occurred_at` (UTC), the title and genre columns
        `title` and `genres`; of MovieLens the title is `Title (year)`, as GroupLens spells it.

    Raises:
        InputMissing: no `.inter`, or no `.item` beside it.
        DataError: several data sets in the folder, or a file is not in the format.
    """
    name = _dataset_name(folder)
    movielens = name.lower().startswith(_MOVIELENS)
    paths = [folder / f"{name}.{kind}" for kind in ("inter", "item", "user")]
    if not paths[1].is_file():
        raise InputMissing(f"{paths[1]}: no such file; recbole:{folder} needs the titles in it")
    tables: list[pa.Table | None] = []
    inputs: list[InputFile] = []
    for done, path in enumerate(paths):
        table = _read_atomic(path) if path.is_file() else None
        if table is not None:
            inputs.append(describe_file(path, table.num_rows))
        tables.append(table)
        progress("read", done + 1, len(paths))
    events, items, users = tables
    return RawTables(
        (Part(str(paths[0]), _interactions(events)),),
        (Part(str(paths[1]), _items(items, movielens)),),
        (Part(str(paths[2]), users),) if users is not None else (),
        tuple(inputs),
        merge_by_title=movielens,
    )


def _dataset_name(folder: Path) -> str:
    names = sorted(path.stem for path in folder.glob("*.inter"))
    if not names:
        raise InputMissing(f"{folder}: no .inter file; name the folder that holds the atomic files")
    if len(names) > 1:
        raise DataError(f"{folder}: several data sets ({', '.join(names)}); give each a folder of its own")
    return names[0]


def _read_atomic(path: Path) -> pa.Table:
    """The file's table, columns in their RecBole types."""
    table = read_text_table(path, delimiter="\t", quoted=False)
    columns = {}
    for at, field in enumerate(table.column_names):
        name, _, kind = field.partition(":")
        if kind not in _TYPES:
            raise DataError(f"{path}: header {field!r} is not name:type with a type of {', '.join(_TYPES)}; correct it")
        if name in columns:
            raise DataError(f"{path}: column {name} stands there twice; rename or drop one")
        columns[name] = _typed(path, name, kind, table.column(at))
    return pa.table(columns)


def _typed(path: Path, name: str, kind: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    if kind == "token" or name == "timestamp" or name in ("rating", *_WEIGHTS):
        return column  # numbers of events are read by the rules, which name the row of one that is none
    blank = pc.equal(pc.utf8_trim_whitespace(column), "")
    if kind == "float":
        return _floats(path, name, pc.if_else(blank, None, pc.utf8_trim_whitespace(column)))
    if name in _TITLES:
        return column
    words = pc.split_pattern(pc.if_else(blank, None, pc.utf8_trim_whitespace(column)), " ")
    return words if kind == "token_seq" else _floats(path, name, words, pa.list_(pa.float64()))


def _floats(path: Path, name: str, column: pa.ChunkedArray, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    try:
        return column.cast(kind or pa.float64())
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path}: column {name}: {str(error).splitlines()[0]}; correct it or make it a token"
        ) from error


def _interactions(table: pa.Table) -> pa.Table:
    have = table.column_names
    names = {"user_id": "user_id", "item_id": "item_id", "timestamp": "occurred_at", "rating": "rating"}
    names |= {name: "weight" for name in _WEIGHTS[::-1] if name in have and "weight" not in have} or {
        "weight": "weight"
    }
    return pa.table({new: table[old] for old, new in names.items() if old in have})


def _items(table: pa.Table, movielens: bool) -> pa.Table:
    have = table.column_names
    title = next((name for name in _TITLES if name in have), None)
    year = next((name for name in _YEARS if name in have), None)
    genres = next((name for name in _GENRES if name in have), None)
    titles = table[title] if title else pa.nulls(table.num_rows, pa.string())
    if movielens and title and year:
        titles = _with_year(titles, pc.cast(table[year], pa.string()))
    columns = {name: table[name] for name in ("item_id",) if name in have} | {"title": titles}
    if genres:
        columns["genres"] = table[genres]
    used = {title, genres, "item_id"}
    return pa.table(columns | {name: table[name] for name in have if name not in used})


def _with_year(titles: pa.ChunkedArray, years: pa.ChunkedArray) -> pa.ChunkedArray:
    """`Title (year)`, where the year is one and the title does not end in a year already."""
    is_year = np.asarray(pc.fill_null(pc.match_substring_regex(years, r"^\d{4}$"), False))
    has_year = np.asarray(pc.fill_null(pc.match_substring_regex(titles, r"\(\d{4}\)\s*$"), False))
    has_title = np.asarray(pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(titles), ""), False))
    longer = pc.binary_join_element_wise(titles, pc.binary_join_element_wise("(", years, ")", ""), " ")
    return pc.if_else(pa.array(is_year & ~has_year & has_title), longer, titles)
