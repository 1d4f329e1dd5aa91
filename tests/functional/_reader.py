"""A reader of a lake that never pauses; a process of its own: `python _reader.py KIND LAKE`, until stdin ends. `… SECONDS` lets it
wait so long between reads.

Each read joins several tables of several files. All rows must tell of one run: the night puts its number into every
table, as title, reason, content and score.
"""

from __future__ import annotations

import json
import select
import sys
from pathlib import Path


def duckdb_read(lake: Path) -> set[str]:
    import duckdb

    with duckdb.connect() as con:
        con.execute(f"attach '{lake}/catalog.duckdb' as lake (read_only)")
        rows = con.execute(
            """select r.title, i.title, s.similar_title, p.title, x.content, count(*)
            from lake.recommendations r join lake.items i using (item_id) join lake.popular p using (item_id)
            join lake.similar_items s using (item_id) cross join lake.quarantine x group by all"""
        ).fetchall()
        runs = con.execute("select count(*) from lake.recommendations").fetchone()
        if runs != (400,):
            raise ValueError(f"{runs} rows")
    return {text for row in rows for text in row[:5]}


def pyarrow_read(lake: Path) -> set[str]:
    import pyarrow.dataset as ds

    tables = json.loads((lake / "latest.json").read_text())["tables"]

    def table(name):
        return ds.dataset([str(lake / file["path"]) for file in tables[name]["files"]]).to_table()

    rows = table("recommendations")
    if rows.num_rows != tables["recommendations"]["rows"]:
        raise ValueError(f"{rows.num_rows} rows")
    items = table("items").select(["item_id", "title"]).rename_columns({"title": "of_item"})
    joined = rows.select(["item_id", "title"]).join(items, "item_id")
    others = [table("popular")["title"], table("similar_items")["similar_title"], table("quarantine")["content"]]
    return {text for column in (joined["title"], joined["of_item"], *others) for text in column.unique().to_pylist()}


def polars_read(lake: Path) -> set[str]:
    import polars as pl

    tables = json.loads((lake / "latest.json").read_text())["tables"]

    def table(name):
        return pl.scan_parquet([lake / file["path"] for file in tables[name]["files"]])

    joined = table("recommendations").join(table("items"), on="item_id", suffix="_of_item").collect()
    if len(joined) != tables["recommendations"]["rows"]:
        raise ValueError(f"{len(joined)} rows")
    popular, rejected = pl.collect_all([table("popular"), table("quarantine")])
    columns = (joined["title"], joined["title_of_item"], popular["title"], rejected["content"])
    return {text for column in columns for text in column.unique().to_list()}


def nights_read(lake: Path) -> set[str]:
    """For real nights: their date by the view `runs`, and by the last event of any user."""
    import duckdb

    with duckdb.connect() as con:
        con.execute(f"attach '{lake}/catalog.duckdb' as lake (read_only)")
        rows = con.execute(
            """select (select max(run_date) from lake.runs), max(last_at)::date + 1, sum(recommended),
            (select count(*) from lake.recommendations r join lake.items i using (item_id)) from lake.users"""
        ).fetchone()
    if rows[2] != rows[3]:
        raise ValueError(f"{rows[3]} rows of {rows[2]}")
    return {str(day) for day in rows[:2]}


READS = {"duckdb": duckdb_read, "pyarrow": pyarrow_read, "polars": polars_read, "nights": nights_read}


def main() -> None:
    kind, lake = sys.argv[1], Path(sys.argv[2])
    pause = float(sys.argv[3]) if sys.argv[3:] else 0
    reads, errors, mixtures, nights = 0, [], [], set()
    READS[kind](lake)
    print("reading", flush=True)
    while not select.select([sys.stdin], [], [], pause)[0]:
        reads += 1
        try:
            seen = READS[kind](lake)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}"[:300])
            continue
        nights |= seen
        if len(seen) != 1:
            mixtures.append(sorted(seen)[:3])
    print(json.dumps({"reads": reads, "errors": errors, "mixtures": mixtures, "nights": len(nights)}))


if __name__ == "__main__":
    main()
