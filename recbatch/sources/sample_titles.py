"""The titles of the generated world: readable, unique, in several scripts, with genres and a year."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa

from recbatch.contracts import Int64s
from recbatch.sources.sample_world import FIRST_DAY, World, uniforms

_FIRST_WORDS = """Silent Amber Winter Paper Midnight Crooked Golden Distant Hollow Scarlet Borrowed Northern Broken
    Velvet Electric Forgotten Salted Burning Quiet Émile's Señora's Żółty Ærlige Last"""
_SECOND_WORDS = """Harbour Lighthouse Orchard Letters Carnival Garden Railway Island Mirror Parade Kitchen Voyage Summer
    Bridge Clockmaker Detective Café Fjord Mañana Ночь 雪の橋 دریا Straße Übung Promise Tempest Riddle Shadow Wolves
    Detour Meadow"""
_GENRE_WORDS = """Drama Comedy Thriller Romance Adventure Documentary Mystery Animation Horror Fantasy Western Musical
    Crime War History Family"""
_FIRST, _SECOND, _GENRES = _FIRST_WORDS.split(), _SECOND_WORDS.split(), _GENRE_WORDS.split()
_OLDEST_YEAR = 1950


def item_table(world: World, count: int) -> pa.Table:
    """The first `count` titles in order of appearance: item_id, title, genres, year (int32)."""
    number = np.arange(count, dtype=np.int64)
    years = _years(world, number)
    tastes = (number % world.tastes).tolist()
    second = (uniforms(world.seed, "genre", number, number) * len(_GENRES)).astype(np.int64).tolist()
    genres = [_genres(taste, other) for taste, other in zip(tastes, second, strict=True)]
    titles = [f"{_name(at)} ({year})" for at, year in enumerate(years.tolist())]
    return pa.table(
        {
            "item_id": pa.array([str(at + 1) for at in range(count)]),
            "title": pa.array(titles),
            "genres": pa.array(genres, pa.list_(pa.string())),
            "year": pa.array(years, pa.int32()),
        }
    )


def _name(at: int) -> str:
    # 24 and 31 share no factor: the pairs of remainders run through all combinations before a "Part 2".
    series, pair = divmod(at, len(_FIRST) * len(_SECOND))
    words = f"{_FIRST[pair % len(_FIRST)]} {_SECOND[pair % len(_SECOND)]}"
    return words if series == 0 else f"{words}, Part {series + 1}"


def _genres(taste: int, other: int) -> list[str]:
    own = _GENRES[taste % len(_GENRES)]
    return [own] if other < len(_GENRES) // 2 or _GENRES[other] == own else [own, _GENRES[other]]


def _years(world: World, number: Int64s) -> Int64s:
    """Old titles from any year, new ones from the year in which they appear."""
    last = FIRST_DAY.year
    old = last - (uniforms(world.seed, "year", number, number) ** 2 * (last - _OLDEST_YEAR + 1)).astype(np.int64)
    appeared = [(FIRST_DAY + timedelta(days=int(day))).year for day in world.day_of_title(len(number))]
    return np.where(number < world.titles, old, np.array(appeared, np.int64)).astype(np.int64)
