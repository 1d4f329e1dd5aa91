"""`recbatch sql`: one SELECT over the readers' views, on a connection that can do nothing else."""

from __future__ import annotations

import sys

import click
import pyarrow.csv
import pyarrow.parquet

from recbatch import views
from recbatch.store import Lake

from ._options import json_option, lake_option, print_json
from ._tables import print_table


@click.command()
@click.argument("query", default="show tables")
@lake_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV instead of a table.")
@click.option("--parquet", "as_parquet", is_flag=True, help="Write Parquet to standard output, for a file or a pipe.")
def sql(query: str, lake: Lake, as_json: bool, as_csv: bool, as_parquet: bool) -> None:
    """Ask the published tables: one SELECT or EXPLAIN. Without a query, lists the views.

    \b
    recbatch sql "select title, count(*) from recommendations where rank <= 10 group by all order by 2 desc limit 5"
    recbatch sql "from recs_for('196')" --csv
    recbatch sql "from recommendations where rank = 1" --parquet > first.parquet
    """
    if as_json + as_csv + as_parquet > 1:
        raise click.UsageError("--json, --csv and --parquet exclude each other: name one")
    if as_parquet and sys.stdout.isatty():
        raise click.UsageError("--parquet writes bytes, and this is a terminal: add > FILE.parquet")
    with views.connect(lake) as con:
        rows = views.query(con, query)
    if as_json:
        print_json(rows.to_pylist())
    elif as_csv:
        pyarrow.csv.write_csv(rows, sys.stdout.buffer)
    elif as_parquet:
        pyarrow.parquet.write_table(rows, sys.stdout.buffer, compression="zstd")
    else:
        print_table(rows)
