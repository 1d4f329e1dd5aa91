"""What the views show while titles are withdrawn, and the file that a lookup reads when users are spread over files."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from recbatch import store, views, withdrawn
from tests.unit import _lake_fixture as lake_fixture
from tests.unit._lake_fixture import FIRST, SECOND, TITLES


@pytest.fixture
def lake(tmp_path: Path) -> store.Lake:
    lake = store.Lake(tmp_path / "lake")
    lake_fixture.publish(lake, FIRST)
    views.write_catalog(lake, [FIRST])
    return lake


def take(lake: store.Lake, *items: str) -> None:
    withdrawn.write(lake, {item: TITLES.get(item, "?") for item in items})
    views.write_catalog(lake, views.live_runs(lake))


def ask(lake: store.Lake, sql: str) -> list[tuple[object, ...]]:
    with views.connect(lake) as con:
        return con.execute(sql).fetchall()


def test_ranks_close_up_the_buffer_moves_in_and_reasons_go(lake: store.Lake) -> None:
    take(lake, "1", "3")
    lists = ask(lake, "select user_id, rank, item_id, because_item_id from recommendations order by all")
    assert lists == [
        *[("a", 1, "2", None), ("a", 2, "10", None), ("a", 3, "11", None)],
        *[("b'; drop", 1, "11", None), ("b'; drop", 2, "2", None)],
        ("c", 1, "2", None),
    ]
    assert ask(lake, "from recommendations_buffer") == []
    assert (
        ask(lake, "select user_id, rank, item_id, because_item_id from recommendations_history order by all") == lists
    )
    assert ask(lake, "select user_id, recommended, shortfall_reason from users order by all") == [
        ("a", 3, None),
        ("b'; drop", 2, "withdrawn"),
        ("c", 1, "too few candidates"),
    ]
    assert ask(lake, "select rank, item_id from recs_for('nobody')") == [(1, "2"), (2, "10"), (3, "11")]
    assert ask(lake, "select item_id from items order by all") == [("10",), ("11",), ("2",)]
    assert ask(lake, "from similar_items") == []


def test_columns_and_types_stay_as_they_are(lake: store.Lake) -> None:
    names = [name for (name,) in ask(lake, "select view_name from duckdb_views() where not internal")]
    before = {name: ask(lake, f"describe {name}") for name in names}
    take(lake, "1", "it's", "unknown")
    assert {name: ask(lake, f"describe {name}") for name in names} == before


def test_taken_back_everything_is_as_before(lake: store.Lake) -> None:
    before = ask(lake, "from recommendations_by_user order by all")
    take(lake, "1")
    assert ask(lake, "from recommendations_by_user order by all") != before
    take(lake)
    assert ask(lake, "from recommendations_by_user order by all") == before


def test_a_run_that_left_the_title_out_already_is_read_as_it_stands(lake: store.Lake) -> None:
    lake_fixture.publish(lake, SECOND, withdrawn=["1"])
    views.write_catalog(lake, [FIRST, SECOND])
    take(lake, "1")
    assert "window" not in ask(lake, "explain from recommendations")[0][1].lower()
    assert ask(lake, f"select count(*) from recommendations_history where run_id = '{FIRST}' and item_id = '1'") == [
        (0,)
    ]


@pytest.mark.parametrize("gone", [[], ["3"]])
def test_a_lookup_reads_the_one_file_that_may_hold_the_user(lake: store.Lake, gone: list[str]) -> None:
    folder = lake.run(FIRST) / "recommendations"
    whole = pq.read_table(folder / "part-00000.parquet")
    for part, (start, rows) in enumerate([(0, 3), (3, 3), (6, 2)]):
        pq.write_table(whole.slice(start, rows), folder / f"part-{part:05}.parquet")
    names = [str(path.relative_to(lake.run(FIRST))) for path in sorted(folder.iterdir())]
    manifest = store.read_checked_json(lake.run(FIRST) / store.MANIFEST)
    manifest["files"] |= {name: {"bytes": 0, "sha256": ""} for name in names}
    store.write_checked_json(lake.run(FIRST) / store.MANIFEST, manifest)
    take(lake, *gone)
    users = ["a", "b'; drop", "c", "", "A", "b", "zz"]
    expected = {user: ask(lake, f"from recs_for({views.quote_literal(user)})") for user in users}
    for user in users[:3]:
        same = f"from recommendations where user_id = {views.quote_literal(user)} order by rank"
        assert expected[user] == ask(lake, same) != []
    asked = ", ".join(f"({views.quote_literal(user)})" for user in users)
    many = ask(lake, f"with mine as (from (values {asked}) as u (user_id)) from recs_for_users('mine')")
    assert many == [row for user in sorted(users) for row in expected[user]]
    for part in (0, 2):
        (folder / f"part-{part:05}.parquet").write_bytes(b"")
    assert ask(lake, "from recs_for('b''; drop')") == expected["b'; drop"]
    with pytest.raises(duckdb.Error):
        ask(lake, "from recs_for('a')")
