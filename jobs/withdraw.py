"""`recbatch withdraw ITEM`: a title leaves every reader at once, and the nights to come."""

from __future__ import annotations

import click

from recbatch import store, views, withdrawn
from recbatch.errors import InputMissing
from recbatch.store import Lake

from ._items import find_item
from ._lake import commit, repair
from ._options import json_option, lake_option, print_json


@click.command()
@click.argument("item", required=False)
@click.option("--undo", is_flag=True, help="Bring the title back.")
@lake_option
@json_option
def withdraw(item: str | None, undo: bool, lake: Lake, as_json: bool) -> None:
    """Take a title, named by id or exact title, out of every view and reader without scoring anew.

    Ranks close up and the buffer moves in, so lists keep their length as far as it reaches. No night recommends the
    title until --undo, which brings it back to the runs made before. Without ITEM, lists what is withdrawn.

    \b
    recbatch withdraw "Star Wars (1977)"
    recbatch withdraw 50 --undo
    recbatch withdraw --json
    """
    lake.require()
    if item is None:
        said, gone = "", withdrawn.read(lake)
    else:
        with store.locked(lake):
            live = repair(lake)
            said, gone = _back(lake, item) if undo else _out(lake, item)
            withdrawn.write(lake, gone)
            commit(lake, live)
    if as_json:
        print_json({"withdrawn": [{"item_id": item_id, "title": title} for item_id, title in gone.items()]})
    elif said:
        click.echo(said)
    else:
        click.echo("\n".join(f"{item_id} {title}" for item_id, title in gone.items()) or "nothing is withdrawn")


def _out(lake: Lake, text: str) -> tuple[str, dict[str, str]]:
    gone = withdrawn.read(lake)
    if text in gone or text in gone.values():
        return f"{text}: withdrawn already", gone
    with views.connect(lake) as con:
        item_id, title = find_item(con, text)
    return f"{item_id} {title}: withdrawn; readers no longer see it", gone | {item_id: title}


def _back(lake: Lake, text: str) -> tuple[str, dict[str, str]]:
    gone = withdrawn.read(lake)
    named = [text] if text in gone else [item_id for item_id, title in gone.items() if title == text]
    if not named:
        raise InputMissing(f"{text!r} is not withdrawn; `recbatch withdraw` lists what is")
    kept = {item_id: title for item_id, title in gone.items() if item_id not in named}
    return f"{named[0]} {gone[named[0]]}: back, in every run that has it", kept
