"""`recbatch similar ITEM`: a title's nearest neighbours."""

from __future__ import annotations

import click

from recbatch import views
from recbatch.store import Lake

from ._items import find_item
from ._options import json_option, lake_option, print_json
from ._tables import print_table


@click.command()
@click.argument("item")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Rows to print.")
@lake_option
@json_option
def similar(item: str, limit: int, lake: Lake, as_json: bool) -> None:
    """Show the titles most similar to one, named by id or exact title, with the cosine of their embeddings.

    \b
    recbatch similar 50
    recbatch similar "Star Wars (1977)" --json
    """
    with views.connect(lake) as con:
        item_id, title = find_item(con, item)
        rows = views.query(con, _NEIGHBOURS, [item_id, limit])
    if as_json:
        print_json({"item_id": item_id, "title": title, "similar": rows.to_pylist()})
        return
    click.echo(f"similar to {item_id} {title}" if rows.num_rows else f"{item_id} {title}: no neighbours in this run")
    if rows.num_rows:
        print_table(rows)


_NEIGHBOURS = "select rank, similar_item_id as item_id, similar_title as title, score from similar_to(?) limit ?"
