"""`recbatch report`: where the report of a run lies, and how the kept runs developed."""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow as pa

from recbatch import report as page
from recbatch import store, views
from recbatch.contracts import Json
from recbatch.errors import InputMissing, UsageError
from recbatch.store import Lake

from ._lake import manifest_of
from ._options import json_option, lake_option, print_json
from ._tables import print_table


@click.command()
@click.argument("run", required=False)
@click.option("--history", is_flag=True, help="The trend over all kept runs instead.")
@click.option("--plot", type=click.Path(path_type=Path), help="With --history: write the trend as SVG to this file.")
@lake_option
@json_option
def report(run: str | None, history: bool, plot: Path | None, lake: Lake, as_json: bool) -> None:
    """Print the path of a run's report.html: the live run's, or that of a published or blocked RUN.

    --history prints a line per live run: what the judged model and popularity reached, what `evaluate` found
    afterwards (the longest horizon over), how many titles of the lists stayed, recall of the index, seconds.

    \b
    recbatch report --lake lake
    recbatch report 1998-04-23.1 --lake lake
    recbatch report --history --plot trend.svg
    """
    if history:
        if run is not None:
            raise UsageError("--history is about all kept runs; leave RUN out")
        lake.require()
        _print_history(lake, plot, as_json=as_json)
        return
    if plot is not None:
        raise UsageError("--plot draws the trend over all kept runs; add --history")
    if run is None:
        lake.require()
        run = views.live_runs(lake)[-1]
    name = store.checked_run_id(run)
    found = [
        folder / name / "report.html"
        for folder in (lake.runs, lake.blocked)
        if (folder / name / "report.html").is_file()
    ]
    if not found:
        raise InputMissing(f"{lake.root}: no run {name} with a report; `recbatch runs` lists them")
    if as_json:
        print_json({"run_id": name, "report": str(found[0])})
    else:
        click.echo(found[0])


def _print_history(lake: Lake, plot: Path | None, *, as_json: bool) -> None:
    rows = trend(lake, views.live_runs(lake))
    drawn = page.trend_svg(rows) if plot else None
    if plot and drawn is None:
        raise UsageError("a trend needs two runs that were judged or evaluated; run another night first")
    if plot and drawn:
        store.write_bytes(plot, drawn)
    if as_json:
        print_json(rows)
    else:
        print_table(pa.Table.from_pylist([{k: v for k, v in row.items() if k != "horizons"} for row in rows]))


PAST_NIGHTS = 14
"""Runs before that a night's report tells of: two weeks."""


def past_nights(lake: Lake, live: list[str], run_id: str) -> list[Json]:
    """What a run's report says of the newest live runs before it; lists are not compared, which would read them all."""
    before = [other for other in live if store.run_key(other) < store.run_key(run_id)]
    return trend(lake, before[-PAST_NIGHTS:], with_overlap=False) if before else []


def trend(lake: Lake, runs: list[str], *, with_overlap: bool = True) -> list[Json]:
    """One row per live run, in the order given.

    Args:
        lake: something is published in it.
        runs: live runs.
        with_overlap: whether each run's lists are compared with those of the run before.

    Returns:
        `metric` names the gate's figure, `model`, `parent` and `popular` are its values on the judged days, `realised`
        that of the lists on the `days` after the run, `horizons` the same by days, `overlap` and `rbo` compare the
        lists with the run before; none where there is nothing to say.
    """
    rows: list[Json] = []
    with views.connect(lake) as con:
        for run_id in runs:
            head = manifest_of(lake, run_id)
            metric, k = head["config"]["judge"]["metric"], head["config"]["judge"]["metric_k"]
            values = {m["source"]: m["value"] for m in head["metrics"] if (m["metric"], m["k"]) == (metric, k)}
            later = views.query(con, _REALISED, [run_id, metric, k]).to_pylist()
            before = rows[-1]["run_id"] if rows and with_overlap else None
            [kept] = (
                views.query(con, _KEPT, [before, run_id]).to_pylist() if before else [{"overlap": None, "rbo": None}]
            )
            rows.append(
                {
                    "run_id": run_id,
                    "status": head["status"],
                    "users": head["users"],
                    "metric": f"{metric}@{k}",
                    **{source: values.get(source) for source in ("model", "parent", "popular")},
                    **(later[-1] if later else {"realised": None, "days": None}),
                    "horizons": {str(row["days"]): row["realised"] for row in later},
                    **kept,
                    "index_recall": (head.get("certificate") or {}).get("recall"),
                    "seconds": round(sum(head["seconds"].values()), 1),
                }
            )
    return rows


_REALISED = """
select value as realised, horizon_days as days
from realised_metrics
where run_id = ? and metric = ? and k = ? and segment = 'all' and source = 'all'
order by horizon_days
"""
_KEPT = """
select
    avg(overlap) filter (rows_before > 0 and rows_after > 0) as overlap,
    avg(rbo) filter (rows_before > 0 and rows_after > 0) as rbo
from diff_runs($1, $2)
"""
