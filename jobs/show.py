"""`recbatch show USER`: what one user did lately, what they get and why, and from which run."""

from __future__ import annotations

import click

from recbatch import views
from recbatch.contracts import Json
from recbatch.store import Lake

from ._options import json_option, lake_option, print_json
from ._tables import print_table


@click.command()
@click.argument("user")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Rows to print.")
@click.option("--history", type=click.IntRange(0), default=5, show_default=True, help="Latest titles to print.")
@lake_option
@json_option
def show(user: str, limit: int, history: int, lake: Lake, as_json: bool) -> None:
    """Show what a user did lately and gets: titles, scores, sources, reasons. Unknown users get what is popular.

    The history is the run's table `histories`: the latest titles of each user, as many as score.history says.

    \b
    recbatch show 196 --lake lake
    """
    with views.connect(lake) as con:
        past = views.query(con, _HISTORY, [user, history])
        rows = views.query(con, _LIST, [user, limit])
        [run] = views.query(con, _RUN, [user]).to_pylist()
    if as_json:
        print_json({"user_id": user, **run, "history": past.to_pylist(), "recommendations": rows.to_pylist()})
        return
    known = f"{run['status']}, {run['interactions']} interactions" if run["status"] else "unknown: gets what is popular"
    click.echo(f"user {user} ({known})")
    if past.num_rows:
        click.echo("\nlatest titles")
        print_table(past)
    click.echo(f"recommended by run {run['run_id']}, {_origin(run)}")
    click.echo(f"from {run['source']}, finished {run['finished_at']:%Y-%m-%d %H:%M} UTC")
    print_table(rows)


def _origin(run: Json) -> str:
    if run["model_id"] is None:
        return "popularity only"
    return f"model {run['model_id']} trained before {run['trained_before']}, {run['engine']} search"


_HISTORY = """
select h.item_id, coalesce(i.title, h.item_id) as title, h.occurred_at
from histories as h
left join items as i on i.item_id = h.item_id
where h.user_id = ?
order by h.rank
limit ?
"""
_LIST = """
select r.rank, r.item_id, r.title, r.score, r.source, b.title as because
from recs_for(?) as r
left join items as b on b.item_id = r.because_item_id
order by r.rank
limit ?
"""
_RUN = """
select
    runs.run_id,
    runs.run_date,
    runs.finished_at,
    runs.model_id,
    runs.trained_before,
    runs.engine,
    runs.source,
    users.status,
    users.interactions
from runs
left join users on users.user_id = ?
where runs.is_latest
"""
