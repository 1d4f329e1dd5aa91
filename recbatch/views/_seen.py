"""The histories as checks compare them: a number for each user and each title instead of their names."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from recbatch import _ids

VIEWS = {
    "seen": {"user_id": "varchar", "item_id": "varchar", "barred": "boolean"},
    "seen_rows": {"user_row": "integer", "item_row": "integer", "barred": "boolean"},
    "seen_users": {"user_row": "integer", "user_id": "varchar"},
    "seen_items": {"item_row": "integer", "item_id": "varchar"},
}
"""The histories by name, by number, and what the numbers mean."""


def numbered(seen: pa.Table) -> dict[str, pa.Table]:
    """The tables behind `VIEWS`, made of what `over` takes."""
    if "barred" not in seen.column_names:
        seen = seen.append_column("barred", [[True] * seen.num_rows])
    users, items = (_ids.encoded(seen[name]) for name in ("user_id", "item_id"))
    return {
        "seen": seen,
        "seen_rows": pa.table({"user_row": users.indices, "item_row": items.indices, "barred": seen["barred"]}),
        "seen_users": pa.table({"user_row": np.arange(len(users.dictionary)), "user_id": users.dictionary}),
        "seen_items": pa.table({"item_row": np.arange(len(items.dictionary)), "item_id": items.dictionary}),
    }
