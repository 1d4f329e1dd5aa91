"""`recbatch evaluate`: what was really published, judged by what people did in the days after."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import click
import pyarrow as pa

from recbatch import config as settings_of
from recbatch import dataset, outcomes, publish, schemas, split, store, views
from recbatch import evaluate as judging
from recbatch.config import Config
from recbatch.contracts import NO_TIME, Dataset, Json, Split
from recbatch.errors import DataError, InputMissing, UsageError
from recbatch.outcomes import UNKNOWN
from recbatch.store import Lake

from ._input import Input
from ._lake import commit, manifest_of, repair
from ._options import RunDate, config_options, json_option, lake_option, print_json
from ._say import Say, now
from ._tables import print_table

_KEPT = 2
"""Outcomes of one run that stay: the newest, and the one that open readers of the catalog before may still read."""


def realise(lake: Lake, run_id: str, config: Config, until: date, live: list[str], say: Say) -> Json:
    """Judges one published run and adds the outcome to the catalog; the caller holds the lake's lock.

    Args:
        lake: where the run stands.
        run_id: a live run.
        config: where events come from, and which count.
        until: horizons that are over on this day are judged.
        live: the live runs.
        say: hears of stages.

    Returns:
        The head of the outcome's manifest.

    Raises:
        UsageError: no day from the run date on is over yet.
        DataError: nobody did anything new in the days after, or events have no times.
    """
    run = manifest_of(lake, run_id)
    day = date.fromisoformat(run["run_date"])
    horizons = outcomes.horizons_over(day, until)
    if not horizons:
        raise UsageError(f"run {run_id}: {day} is not over on {until}; evaluate it from {day + timedelta(days=1)} on")
    say.run_id = run_id
    say.stage("read")
    end = day + timedelta(days=horizons[-1])
    tables = Input(config, end).before(lake, end, say)
    data = dataset.build(tables, config.dataset, end, merge_by_title=config.source.merge_by_title)
    head = {
        "contract": schemas.CONTRACT_VERSION,
        "run_id": run_id,
        "run_date": run["run_date"],
        "k": run["k"],
        "horizons": list(horizons),
        "source": config.source.uri,
        "fingerprint": data.fingerprint,
    }
    before = _newest(lake, run_id)
    if before and head.items() <= before.items():
        return before
    say.stage("evaluate")
    with views.over(lake.run(run_id), run) as con:
        con.register("pairs", what_came(data, day, keep_seen=run["keep_seen"]))
        given = {"k": run["k"], "day": run["run_date"], "unknown": UNKNOWN, "most": MOST_VALUES}
        realised: pa.Table = con.sql(_REALISED, params=given).to_arrow_table()
    if not realised.num_rows:
        raise DataError(
            f"run {run_id}: nobody did anything new from {day} to {end}; check --source, or wait for events"
        )
    realised = realised.cast(schemas.arrow(schemas.REALISED))
    measured = outcomes.measure(
        realised,
        run_id=run_id,
        run_date=day,
        k=run["k"],
        horizons=horizons,
        samples=config.judge.bootstrap_samples,
        seed=config.seed,
    )
    say.stage("publish")
    head |= {"users": len(realised["user_id"].unique()), "events": realised.num_rows, "evaluated_at": now().isoformat()}
    _publish(lake, head, {schemas.REALISED: realised, schemas.REALISED_METRICS: measured})
    commit(lake, live)
    return head


def what_came(data: Dataset, day: date, *, keep_seen: bool) -> pa.Table:
    """Who did what from a day on, once each and new to them: user_id, item_id, occurred_at.

    Raises:
        DataError: no event has a time.
    """
    if not data.has_times:
        raise DataError("no event has a time, so none can come after a run; evaluate needs occurred_at")
    earlier = data.events.occurred_at < split.microseconds(day)
    parts = Split(data.events.where(earlier), data.events.where(~earlier), "realised", None, None)
    pairs = judging.held_out(parts, keep_seen=keep_seen)
    return pa.table(
        {
            "user_id": data.user_ids.take(pa.array(pairs.users[pairs.user_of])),
            "item_id": data.item_ids.take(pa.array(pairs.items)),
            "occurred_at": pa.array(pairs.occurred_at, mask=pairs.occurred_at == NO_TIME).cast(pa.timestamp("us")),
        }
    )


MOST_VALUES = 50
"""A feature of more values than this among the users, such as a postcode, makes no segments."""
_REALISED = """
with members as (
    select user_id, segment, split_part(segment, '=', 1) as kind
    from user_segments
    where user_id in (select user_id from pairs) and segment <> 'all' and not starts_with(segment, 'status=')
),

few as (
    select kind from members group by kind having count(distinct segment) <= $most
),

groups as (
    select user_id, list(segment order by segment) as segments
    from (
        select user_id, segment from members semi join few using (kind)
        union all
        select user_id, 'source=' || source from recommendations
        where rank = 1 and user_id in (select user_id from pairs)
        union all
        select distinct user_id, 'source=popular' from pairs anti join users using (user_id)
    )
    group by user_id
)

select
    pairs.user_id,
    pairs.item_id,
    pairs.occurred_at,
    (date_diff('day', $day::date, pairs.occurred_at::date) + 1)::integer as day,
    coalesce(users.status, $unknown) as status,
    if(users.user_id is null, (select count(*) from popular where segment = 'all' and rank <= $k), users.recommended)
        ::integer as served,
    coalesce(lists.rank, popular.rank)::integer as rank,
    coalesce(lists.source, if(popular.rank is null, null, 'popular')) as source,
    coalesce(groups.segments, []) as segments
from pairs
left join groups on groups.user_id = pairs.user_id
left join users on users.user_id = pairs.user_id
left join recommendations as lists on lists.user_id = pairs.user_id and lists.item_id = pairs.item_id
left join popular
    on users.user_id is null and popular.segment = 'all' and popular.rank <= $k and popular.item_id = pairs.item_id
order by pairs.user_id, pairs.item_id
"""


def _newest(lake: Lake, run_id: str) -> Json | None:
    newest = [folder for folder in views.newest_outcomes(lake) if folder.parent.name == run_id]
    return store.read_checked_json(newest[0] / store.MANIFEST) if newest and not store.faults(newest[0]) else None


def _publish(lake: Lake, head: Json, contents: dict[schemas.Table, pa.Table]) -> None:
    """Seals the outcome and moves it to `outcomes/<run_id>/<n>`, the next n; older ones but the last go."""
    folder = lake.staging / f"outcome-{head['run_id']}"
    store.make_folder(folder)
    for table, content in contents.items():
        publish.write_table(folder, table, content)
    store.seal(folder, head)
    parent = lake.root / views.OUTCOMES / head["run_id"]
    store.make_folder(parent)
    known = sorted((path for path in parent.iterdir() if path.name.isdecimal()), key=lambda path: int(path.name))
    target = parent / str(int(known[-1].name) + 1 if known else 1)
    store.move_folder(folder, target)
    for path in known[: 1 - _KEPT]:
        store.discard(lake, path)


@click.command()
@lake_option
@config_options
@json_option
@click.option("--run-date", type=RunDate(), help="The night to judge. Default: the newest one with a day over.")
@click.option("--until", type=RunDate(), help="Judge by the days before this date. Default: today.")
@click.option("--source", envvar="RECBATCH_SOURCE", help="Where events come from. Default: where the run's came from.")
@click.option("--data-dir", envvar="RECBATCH_DATA_DIR", help="Prepared tensorflow-datasets directory.")
def evaluate(
    lake: Lake,
    settings: Callable[[dict[str, Any]], Config],
    as_json: bool,
    run_date: date | None,
    until: date | None,
    source: str | None,
    data_dir: str | None,
) -> None:
    """Judge what was published on a date by the events of the days after: 1, 3, 7, 14 and 30, as far as they are over.

    Users whom the run did not know count with what is popular, users who got nothing with zero. Later calls take in
    what has arrived since. The figures stand in the view realised_metrics, also by activity, tenure, user feature and
    source, which are not printed here.

    \b
    recbatch evaluate --run-date 2024-03-01
    recbatch sql "select * from realised_metrics where segment = 'gender=F' and metric = 'ndcg' and k = 10"
    """
    given = settings({"source.uri": source, "source.data_dir": data_dir})
    day = until or now().date()
    lake.require()
    with store.locked(lake), Say() as say:
        try:
            live = repair(lake)
            run_id = _choose(live, run_date, day)
            run = settings_of.of_record(manifest_of(lake, run_id)["config"])
            ours = (
                given
                if given.source != Config().source
                else given.model_copy(update={"source": run.source, "dataset": run.dataset})
            )
            head = realise(lake, run_id, ours, day, live, say)
        finally:
            store.empty_folder(lake.staging)
    with views.connect(lake) as con:
        rows = views.query(con, _SHOWN, [run_id])
    if as_json:
        print_json({**{key: head[key] for key in _SAID}, "metrics": rows.to_pylist()})
        return
    click.echo(
        f"run {run_id}: {head['users']:,} users did {head['events']:,} new things in {head['horizons'][-1]} days"
    )
    print_table(rows)


_SAID = ("run_id", "run_date", "horizons", "users", "events", "evaluated_at")
_SHOWN = """
select horizon_days, segment, metric, k, value, ci_low, ci_high, users, users_without_list
from realised_metrics
where run_id = ? and source = 'all' and (segment = 'all' or starts_with(segment, 'status='))
order by horizon_days, segment <> 'all', segment, metric, k
"""


def _choose(live: list[str], run_date: date | None, until: date) -> str:
    """The run that stands for a date; by default the newest with a day over, else the newest."""
    dates = {store.run_key(run_id)[0]: run_id for run_id in live}
    if run_date is not None and run_date not in dates:
        raise InputMissing(f"no live run of {run_date}; `recbatch runs` lists them")
    over = [day for day in dates if day < until]
    return dates[run_date or (max(over) if over else max(dates))]
