"""Staging, promotion and what readers without DuckDB read. Files appear whole; readers see one run or another."""

from recbatch.publish.collecting import archive, collectable, expired_history, superseded, unused_models
from recbatch.publish.retired import COLLECTED, ROLLED_BACK, SUPERSEDED, reinstate, retire, retired, rolled_back, settle
from recbatch.publish.runs import (
    block,
    half_replaced,
    latest,
    next_run_id,
    orphans,
    promote,
    run_folders,
    stage,
    withdrawal_unfinished,
    write_latest,
)
from recbatch.publish.tables import ROWS_PER_GROUP, TableWriter, audits_table, write_table

__all__ = [
    "COLLECTED",
    "ROLLED_BACK",
    "ROWS_PER_GROUP",
    "SUPERSEDED",
    "TableWriter",
    "archive",
    "audits_table",
    "block",
    "collectable",
    "expired_history",
    "half_replaced",
    "latest",
    "next_run_id",
    "orphans",
    "promote",
    "reinstate",
    "retire",
    "retired",
    "rolled_back",
    "run_folders",
    "settle",
    "stage",
    "superseded",
    "unused_models",
    "withdrawal_unfinished",
    "write_latest",
    "write_table",
]
