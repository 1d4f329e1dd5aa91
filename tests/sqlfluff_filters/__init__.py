"""The filters of recbatch/views/_render.py for sqlfluff, which has no runs to render: see `.sqlfluff`."""

import json

from recbatch.views._quoting import quote_literal

SQLFLUFF_JINJA_FILTERS = {
    "literal": quote_literal,
    "literals": lambda values: "'1', '2'",
    "json": lambda value: json.dumps(value, sort_keys=True),
}
