"""`recbatch show USER`: what one user gets, and from which run."""

from __future__ import annotations

import click

from recbatch import views
from recbatch.store import Lake

from ._options import json_option, lake_option, print_json
from ._tables import print_table


@click.command()
@click.argument("user")
@click.option("--limit", default=20, show_default=True, help="Rows to print.")
@lake_option
@json_option
def show(user: str, limit: int, lake: Lake, as_json: bool) -> None:
    """Show what a user gets: titles, scores, sources and reasons. Unknown users get what is popular.

    \b
    recbatch show 196 --lake lake
    """
    with views.connect(lake) as con:
        rows = views.query(con, _LIST, [user, limit])
        run = views.query(con, _RUN, [user]).to_pylist()[0]
    if as_json:
        print_json({"user_id": user, **run, "recommendations": rows.to_pylist()})
        return
    known = f"{run['status']}, {run['interactions']} interactions" if run["status"] else "unknown: gets what is popular"
    click.echo(f"user {user} ({known}), run {run['run_id']}")
    print_table(rows)


_LIST = """
select r.rank, r.item_id, r.title, r.score, r.source, b.title as because
from recs_for(?) as r
left join items as b on b.item_id = r.because_item_id
order by r.rank
limit ?
"""
_RUN = """
select runs.run_id, users.status, users.interactions
from (select run_id from runs order by run_date desc, number desc limit 1) as runs
left join users on users.user_id = ?
"""
