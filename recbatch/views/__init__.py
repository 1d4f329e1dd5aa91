"""STAGE views: what readers query. Runs, once staged, become SQL views and macros; the catalog decides which are live.

The selects stand below `sql/`, one file per view, macro and check. Here they are rendered over explicit Parquet files:
into an in-memory connection over one staged run (`over`), or into LAKE/catalog.duckdb over all live ones.
"""

from recbatch.views._catalog import OUTCOMES, live_runs, newest_outcomes, outdated, write_catalog
from recbatch.views._changes import list_changes
from recbatch.views._checks import run_checks
from recbatch.views._earlier import Earlier, compare, profile
from recbatch.views._quoting import quote_literal, quote_name
from recbatch.views._reading import connect, over, query

__all__ = [
    "OUTCOMES",
    "Earlier",
    "compare",
    "connect",
    "list_changes",
    "live_runs",
    "newest_outcomes",
    "outdated",
    "over",
    "profile",
    "query",
    "quote_literal",
    "quote_name",
    "run_checks",
    "write_catalog",
]
