# ruff: noqa: DTZ001 (tables hold UTC without a zone)
"""RecBole atomic files: headers, types, titles with years."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import pytest

from recbatch import sources
from recbatch.config import Source
from recbatch.contracts import SourceTables
from recbatch.errors import DataError, InputMissing

INTER = (
    "user_id:token\titem_id:token\trating:float\ttimestamp:float\n196\t242\t3\t881250949\n186\t0302\t3.5\t891717742.5\n"
)
ITEM = (
    "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "242\tKolya\t1996\tComedy\n"
    '0302\tL.A. "Confidential"\t1997\tCrime Film-Noir\n'
    "267\tunkonwn\tunkonwn\tunknown\n"
    "1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation\n"
    "9\tMetropolis (1927)\t1927\t\n"
)
USER = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n196\t49\tM\twriter\t05105\n"


def read(folder: Path) -> SourceTables:
    return sources.read(Source(uri=f"recbole:{folder}"), before=date(1999, 1, 1), today=date(2026, 1, 1))


def write(folder: Path, name: str, inter: str = INTER, item: str | None = ITEM, user: str | None = None) -> Path:
    for kind, text in (("inter", inter), ("item", item), ("user", user)):
        if text is not None:
            (folder / f"{name}.{kind}").write_text(text, "utf-8")
    return folder


def test_movielens_titles_get_their_year_back(tmp_path: Path) -> None:
    tables = read(write(tmp_path, "ml-100k", user=USER))
    assert tables.items.to_pylist() == [
        {"item_id": "242", "title": "Kolya (1996)", "genres": ["Comedy"], "release_year": "1996"},
        {
            "item_id": "0302",
            "title": 'L.A. "Confidential" (1997)',
            "genres": ["Crime", "Film-Noir"],
            "release_year": "1997",
        },
        {"item_id": "267", "title": "unkonwn", "genres": ["unknown"], "release_year": "unkonwn"},
        {
            "item_id": "1412",
            "title": "Land Before Time III: The Time of the Great Giving (1995)",
            "genres": ["Animation"],
            "release_year": "V",
        },
        {"item_id": "9", "title": "Metropolis (1927)", "genres": None, "release_year": "1927"},
    ]
    assert tables.merge_by_title is True


def test_events_and_users_keep_their_text(tmp_path: Path) -> None:
    tables = read(write(tmp_path, "ml-100k", user=USER))
    assert tables.interactions.to_pylist() == [
        {
            "user_id": "196",
            "item_id": "242",
            "occurred_at": datetime(1997, 12, 4, 15, 55, 49),
            "rating": 3.0,
            "weight": None,
        },
        {
            "user_id": "186",
            "item_id": "0302",
            "occurred_at": datetime(1998, 4, 4, 19, 22, 22, 500000),
            "rating": 3.5,
            "weight": None,
        },
    ]
    assert tables.users.to_pylist() == [
        {"user_id": "196", "age": "49", "gender": "M", "occupation": "writer", "zip_code": "05105"}
    ]
    assert [Path(entry.name).name for entry in tables.inputs] == ["ml-100k.inter", "ml-100k.item", "ml-100k.user"]
    assert [entry.rows for entry in tables.inputs] == [2, 5, 1]


def test_other_data_sets_keep_titles_and_are_not_merged(tmp_path: Path) -> None:
    item = "item_id:token\tname:token_seq\tyear:float\tprices:float_seq\n242\tKolya\t1996\t1 2.5\n0302\tX\t\t\n"
    tables = read(write(tmp_path, "books", INTER, item))
    assert tables.items.to_pylist() == [
        {"item_id": "242", "title": "Kolya", "genres": None, "year": 1996.0, "prices": [1.0, 2.5]},
        {"item_id": "0302", "title": "X", "genres": None, "year": None, "prices": None},
    ]
    assert tables.merge_by_title is False
    assert tables.users.num_rows == 0


def test_a_count_is_the_weight(tmp_path: Path) -> None:
    inter = "user_id:token\titem_id:token\tcount:float\nu\t242\t7\n"
    assert read(write(tmp_path, "lastfm", inter)).interactions["weight"].to_pylist() == [7.0]


def test_without_a_title_column_the_id_is_the_title(tmp_path: Path) -> None:
    tables = read(write(tmp_path, "books", INTER, "item_id:token\tprice:float\n242\t1.5\n0302\t2\n"))
    assert tables.items["title"].to_pylist() == ["242", "0302"]
    assert tables.counts["missing_title"] == 2
    assert tables.quarantine["reason"].to_pylist() == ["missing_title", "missing_title"]


def test_broken_files_are_named(tmp_path: Path) -> None:
    write(tmp_path, "books", "user_id\titem_id:token\nu\t242\n")
    with pytest.raises(DataError, match=r"books\.inter: header 'user_id' is not name:type"):
        read(tmp_path)
    write(tmp_path, "books", "user_id:token\titem_id:token\nu\t242\nu\n")
    with pytest.raises(DataError, match=r"books\.inter row 2: expected 2 values, got 1"):
        read(tmp_path)
    write(tmp_path, "books", INTER, "item_id:token\tname:token\tyear:float\n242\tKolya\tlong ago\n")
    with pytest.raises(DataError, match=r"books\.item: column year: .*correct it or make it a token"):
        read(tmp_path)
    write(tmp_path, "books", INTER, "item_id:token\titem_id:token\n242\t1\n")
    with pytest.raises(DataError, match=r"books\.item: column item_id stands there twice"):
        read(tmp_path)
    write(tmp_path, "books", INTER.replace("timestamp:float", "when:float").replace("user_id", "reader"), ITEM)
    with pytest.raises(DataError, match=r"books\.inter: no column user_id"):
        read(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputMissing, match=r"no \.inter file"):
        read(tmp_path)
    write(tmp_path, "books", item=None)
    with pytest.raises(InputMissing, match=r"books\.item: no such file"):
        read(tmp_path)
    write(tmp_path, "films")
    with pytest.raises(DataError, match=r"several data sets \(books, films\)"):
        read(tmp_path)
