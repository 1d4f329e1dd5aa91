"""DISK: name, type and meaning of every column that recbatch reads or writes. Nobody else spells one.

Types are words ("string", "encoded", "int16", "float32", "timestamp", "strings", …) so that this module needs no
pyarrow to be imported; `arrow(table)` turns a specification into an Arrow schema. Timestamps are UTC without a zone, in
microseconds; encoded is text as places in a dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

CONTRACT_VERSION = 1
"""Raised when a table of the lake changes so that a reader of the version before would err."""

SOURCES = ("pinned", "model", "segment", "popular")
"""Where a recommended row comes from, in the order in which they stand in a list."""

ACTIVITY = {"0": 0, "1-4": 1, "5-19": 5, "20-99": 20, "100+": 100}
"""Buckets of users by events: name → fewest."""

STATUSES = ("hot", "warm", "cold")
"""`hot`: trained on; `warm`: history only, unseen by training; `cold`: no history the model knows."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: name, type word, whether null is allowed, and what it holds."""

    name: str
    type: str
    comment: str
    nullable: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One table: what a row is, its columns in order, and the order of its rows on disk."""

    name: str
    comment: str
    columns: tuple[Column, ...]
    sorted_by: tuple[str, ...] = ()
    extra_columns: bool = False
    """True where further columns of the user's own pass through behind the named ones."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)


def _table(name: str, comment: str, *columns: Column, sorted_by: str = "", extra_columns: bool = False) -> Table:
    return Table(name, comment, columns, tuple(sorted_by.split()), extra_columns)


# ---- what comes in ------------------------------------------------------------------------------------------------

INTERACTIONS = _table(
    "interactions",
    "one row per event of a user with an item",
    Column("user_id", "encoded", "who"),
    Column("item_id", "encoded", "with what"),
    Column("occurred_at", "timestamp", "when, UTC; null where the source has no times", nullable=True),
    Column("rating", "float32", "explicit rating, any scale", nullable=True),
    Column("weight", "float32", "how much the event counts, e.g. plays; null counts 1", nullable=True),
)
SOURCE_ITEMS = _table(
    "items",
    "one row per item of the catalogue",
    Column("item_id", "string", "identifier"),
    Column("title", "string", "what people read"),
    Column("genres", "strings", "labels", nullable=True),
    extra_columns=True,
)
SOURCE_USERS = _table(
    "users",
    "one row per known user",
    Column("user_id", "string", "identifier"),
    extra_columns=True,
)

# ---- what goes out ------------------------------------------------------------------------------------------------

_RECOMMENDATION = (
    Column("user_id", "string", "who gets it"),
    Column("rank", "int16", "1 is best"),
    Column("item_id", "string", "the candidate"),
    Column("title", "string", "its title"),
    Column("score", "float32", "higher is better; comparable within one user and source only"),
    Column("source", "string", "pinned, model, segment or popular, in this order within a list"),
    Column("because_item_id", "string", "the title of the user's history with the largest share in the score", True),
)
RECOMMENDATIONS = _table(
    "recommendations", "one row per user and rank, ranks 1..k", *_RECOMMENDATION, sorted_by="user_id rank"
)
RECOMMENDATIONS_BUFFER = _table(
    "recommendations_buffer",
    "one row per user and rank, ranks k+1..k+b: what the live view draws on",
    *_RECOMMENDATION,
    sorted_by="user_id rank",
)
SIMILAR_ITEMS = _table(
    "similar_items",
    "one row per item and rank",
    Column("item_id", "string", "the item asked about"),
    Column("rank", "int16", "1 is most similar"),
    Column("similar_item_id", "string", "the neighbour"),
    Column("similar_title", "string", "its title"),
    Column("score", "float32", "cosine of the two candidate embeddings"),
    sorted_by="item_id rank",
)
POPULAR = _table(
    "popular",
    "one row per segment and rank: what an unknown user gets",
    Column("segment", "string", "`all`, or feature=value such as `gender=F`"),
    Column("rank", "int16", "1 is most popular"),
    Column("item_id", "string", "the candidate"),
    Column("title", "string", "its title"),
    Column("score", "float32", "expected share of the next day's events"),
    sorted_by="segment rank",
)
USERS = _table(
    "users",
    "one row per user known by the run date",
    Column("user_id", "string", "identifier"),
    Column("interactions", "int64", "events before the run date"),
    Column("first_at", "timestamp", "first of them, UTC", nullable=True),
    Column("last_at", "timestamp", "last of them, UTC", nullable=True),
    Column("status", "string", "hot (trained on), warm (history only) or cold (no history the model knows)"),
    Column("recommended", "int32", "rows in `recommendations`"),
    Column("shortfall_reason", "string", "why fewer than k; null where there are k", nullable=True),
    sorted_by="user_id",
    extra_columns=True,
)
HISTORIES = _table(
    "histories",
    "one row per user and rank: the latest titles of each user's history, as many as `score.history` says",
    Column("user_id", "string", "who"),
    Column("rank", "int16", "1 is the latest"),
    Column("item_id", "string", "what they did"),
    Column(
        "occurred_at", "timestamp", "when for the last time, UTC; null where the source has no times", nullable=True
    ),
    sorted_by="user_id rank",
)
ITEMS = _table(
    "items",
    "one row per candidate",
    Column("item_id", "string", "identifier: the smallest id of its title where titles were merged"),
    Column("title", "string", "what people read"),
    Column("genres", "strings", "labels", nullable=True),
    Column("interactions", "int64", "events before the run date"),
    Column("first_at", "timestamp", "first of them, UTC", nullable=True),
    Column("last_at", "timestamp", "last of them, UTC", nullable=True),
    Column("in_vocabulary", "bool", "whether the served model can score it"),
    sorted_by="item_id",
    extra_columns=True,
)
HOLDOUT = _table(
    "holdout",
    "one row per held-out event of the judged model",
    Column("user_id", "string", "who"),
    Column("item_id", "string", "what they went on to do"),
    Column("occurred_at", "timestamp", "when, UTC", nullable=True),
    Column("rank", "int32", "its rank in the judged list; null where it was not in it", nullable=True),
    Column("source", "string", "where that row of the judged list came from; null where there was none", nullable=True),
    sorted_by="user_id item_id",
)
METRICS = _table(
    "metrics",
    "one row per metric, k, segment, source and protocol",
    Column("metric", "string", "recall, ndcg, map, mrr, hit_rate, precision, or rmse of predicted ratings"),
    Column("k", "int32", "cut-off; 0 for rmse"),
    Column("segment", "string", "all, status=…, source=… (of the first row of the model's list), and declared ones"),
    Column("source", "string", "whose list was judged: model, parent, popular (rmse: the mean rating) or challenger"),
    Column("protocol", "string", "how the events were held out"),
    Column("value", "float64", "mean over users; rmse over events"),
    Column("ci_low", "float64", "lower end of the 95 % bootstrap interval over users"),
    Column("ci_high", "float64", "upper end"),
    Column("users", "int64", "users judged"),
    sorted_by="metric k segment source protocol",
)
AUDITS = _table(
    "audits",
    "one row per check",
    Column("check", "string", "name of the SQL file in sql/checks, or of the gate's rule"),
    Column("severity", "string", "error stops the publication, warn does not"),
    Column("passed", "bool", "whether it held"),
    Column("observed", "string", "what was found", nullable=True),
    Column("expected", "string", "what should have been", nullable=True),
    Column("detail", "string", "first offending row, or the cure", nullable=True),
    sorted_by="check",
)
QUARANTINE = _table(
    "quarantine",
    "one row per rejected or repaired input row",
    Column("file", "string", "source file or table"),
    Column("row", "int64", "row within it, 1 is the first row of data"),
    Column("reason", "string", "why, e.g. unknown_item, duplicate_event, missing_title"),
    Column("content", "string", "the row as JSON", nullable=True),
    sorted_by="file row",
)

RULES = _table(
    "rules",
    "one row per rule that was in force",
    Column("rule", "string", "its key in [rules], e.g. eligible, or at_most.genres"),
    Column("setting", "string", "its value"),
    Column("users", "int64", "users of the night on whom rows were counted, 2,000 at most"),
    Column("rows_removed", "int64", "rows of their lists without this one rule that are missing with all rules"),
    Column("users_shortened", "int64", "of them, users whose list is shorter than without this rule"),
    Column("metric", "string", "what the effect is measured by"),
    Column("k", "int32", "its cut-off"),
    Column("judged_users", "int64", "users of the held-out days on whom the effect was measured, 2,000 at most"),
    Column(
        "effect", "float64", "the metric with all rules less that without this one; null where nobody is judged", True
    ),
    Column("ci_low", "float64", "lower end of its paired 95 % bootstrap interval", True),
    Column("ci_high", "float64", "upper end", True),
    sorted_by="rule",
)

RUN_TABLES = (
    RECOMMENDATIONS,
    RECOMMENDATIONS_BUFFER,
    SIMILAR_ITEMS,
    POPULAR,
    USERS,
    HISTORIES,
    ITEMS,
    HOLDOUT,
    METRICS,
    AUDITS,
    QUARANTINE,
    RULES,
)
"""Every table of a run, each a folder of Parquet files below `runs/<run_id>/`."""

REALISED = _table(
    "realised",
    "one row per user and item that they went on to do after a run",
    Column("user_id", "string", "who"),
    Column("item_id", "string", "what they did"),
    Column("occurred_at", "timestamp", "when for the first time, UTC"),
    Column("day", "int32", "1 is the run date itself"),
    Column("status", "string", "of the user in the run: hot, warm or cold, or unknown where the run did not know them"),
    Column("served", "int32", "rows that the user got"),
    Column("rank", "int32", "its rank in what the user got; null where it was not in it", nullable=True),
    Column("source", "string", "where that row came from; null where there was none", nullable=True),
    Column(
        "segments",
        "strings",
        "of the user in the run, besides the status: activity, tenure, features, and source=… of the first row; "
        "null in what releases up to 0.1.0 wrote",
        nullable=True,
    ),
    sorted_by="user_id item_id",
)
REALISED_METRICS = _table(
    "realised_metrics",
    "one row per run, horizon, metric, k, segment and source: how good the lists were by what happened next",
    Column("run_id", "string", "the run that was judged"),
    Column("run_date", "date", "its date"),
    Column("horizon_days", "int32", "events of so many days from the run date on"),
    Column(
        "metric",
        "string",
        "recall, ndcg, map, mrr, hit_rate, precision, or served: the share of users who got a list at all",
    ),
    Column("k", "int32", "cut-off"),
    Column(
        "segment",
        "string",
        "all, status=hot, warm, cold or unknown, activity=…, tenure=…, feature=value, or source=… of the first row",
    ),
    Column("source", "string", "all, or, in the segments all and status=…, what rows of this source alone contribute"),
    Column("value", "float64", "mean over users with events, those who got nothing included"),
    Column("ci_low", "float64", "lower end of the 95 % bootstrap interval over users"),
    Column("ci_high", "float64", "upper end"),
    Column("users", "int64", "users with events on titles that were new to them"),
    Column("users_without_list", "int64", "of these, users who got nothing"),
    sorted_by="run_id horizon_days metric k segment source",
)

OUTCOME_TABLES = (REALISED, REALISED_METRICS)
"""What `evaluate` adds afterwards, below `outcomes/<run_id>/`."""


def arrow(table: Table) -> pa.Schema:
    """The Arrow schema of a table's named columns.

    Args:
        table: one of the specifications above.

    Returns:
        A schema with the columns in order; `extra_columns` are the caller's to append.
    """
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "encoded": pa.dictionary(pa.int32(), pa.string()),
        "strings": pa.list_(pa.string()),
        "bool": pa.bool_(),
        "int16": pa.int16(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float32": pa.float32(),
        "float64": pa.float64(),
        "timestamp": pa.timestamp("us"),
        "date": pa.date32(),
    }
    return pa.schema([pa.field(c.name, types[c.type], nullable=c.nullable) for c in table.columns])
