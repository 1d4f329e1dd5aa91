"""`recbatch diff A B`: how the lists of two runs differ, and why they may."""

from __future__ import annotations

from typing import Any

import click

from recbatch import config, views
from recbatch.contracts import Json
from recbatch.errors import InputMissing, UsageError
from recbatch.store import Lake, checked_run_id

from . import _lake
from ._options import json_option, lake_option, print_json

TITLES_NAMED = 10
"""Titles that entered or left most lists: as many as fit on a screen together with the rest."""


@click.command()
@click.argument("a")
@click.argument("b")
@lake_option
@json_option
def diff(a: str, b: str, lake: Lake, as_json: bool) -> None:
    """Compare two published runs: overlap of the lists, titles that entered or left, metrics, settings.

    \b
    recbatch diff 2024-03-01.1 2024-03-02.1 --lake lake
    """
    found = compare(lake, a, b)
    print_json(found) if as_json else click.echo(_text(found))


def compare(lake: Lake, a: str, b: str) -> Json:
    """What changed from run a to run b.

    Returns:
        `overlap`, the mean over users with a list in both of the share of titles that stayed; `rbo`, their rank-biased
        overlap, which counts the order and the first ranks most; `users`, those with a
        list in both; `replaced`, how many of them kept no title; `only_a` and `only_b`, users with a list in one;
        `entered` and `dropped`, the titles that entered or left most lists, with the number of lists; `metrics`, per
        metric and k the model's value in either; `config`, per setting both values where they differ.

    Raises:
        InputMissing: one of them is no published run.
        UsageError: they are one and the same.
    """
    lake.require()
    if a == b:
        raise UsageError(f"{a} is named twice; name two runs, `recbatch runs` lists them")
    live = views.live_runs(lake)
    for run_id in (a, b):
        if checked_run_id(run_id) not in live:
            raise InputMissing(f"{run_id}: no published run; `recbatch runs` lists them, `rollback` brings one back")
    with views.connect(lake) as con:
        [facts] = views.query(con, _FACTS, [a, b]).to_pylist()
        titles = {way: views.query(con, sql, [a, b, TITLES_NAMED]).to_pylist() for way, sql in _TITLES.items()}
    before, after = _lake.manifest_of(lake, a), _lake.manifest_of(lake, b)
    return {
        "a": a,
        "b": b,
        **facts,
        **titles,
        "metrics": _beside(_metrics(before), _metrics(after)),
        "models": {"a": before["model_id"], "b": after["model_id"]},
        "config": {
            key: {"a": pair["was"], "b": pair["now"]}
            for key, pair in config.changes(before["config"], after["config"]).items()
        },
    }


_FACTS = """
select
    avg(overlap) filter (rows_before > 0 and rows_after > 0) as overlap,
    avg(rbo) filter (rows_before > 0 and rows_after > 0) as rbo,
    count(*) filter (rows_before > 0 and rows_after > 0) as users,
    count(*) filter (replaced) as replaced,
    count(*) filter (rows_after = 0) as only_a,
    count(*) filter (rows_before = 0) as only_b
from diff_runs($1, $2)
"""
_TITLES = {
    way: f"""
select title, count(*) as lists
from (select unnest({way}) as title from diff_runs($1, $2))
group by title
order by lists desc, title
limit $3
"""
    for way in ("entered", "dropped")
}


def _metrics(manifest: Json) -> dict[str, float]:
    return {f"{row['metric']}@{row['k']}": row["value"] for row in manifest["metrics"] if row["source"] == "model"}


def _beside(a: dict[str, float], b: dict[str, float]) -> Json:
    return {name: {"a": a.get(name), "b": b.get(name)} for name in sorted({*a, *b})}


def _text(found: Json) -> str:
    a, b = found["a"], found["b"]
    overlap = "no user has a list in both" if found["overlap"] is None else f"{found['overlap']:.1%} of the titles kept"
    rbo = "" if found["rbo"] is None else f" (rank-biased overlap {found['rbo']:.3f})"
    lines = [
        f"{a} to {b}: {overlap}{rbo}, {found['users']:,} users in both, {found['replaced']:,} of them with another list"
        f" altogether, {found['only_a']:,} users only in {a}, {found['only_b']:,} only in {b}"
    ]
    for way in ("entered", "dropped"):
        lines += [f"{way:<8} {row['lists']:>8,} lists  {row['title']}" for row in found[way]]
    lines += [f"{name:<20} {_figure(pair['a'])} {_figure(pair['b'])}" for name, pair in found["metrics"].items()]
    if found["models"]["a"] != found["models"]["b"]:
        lines.append(f"model {found['models']['a']} became {found['models']['b']}")
    lines += [f"{key}: {pair['a']!r} became {pair['b']!r}" for key, pair in found["config"].items()]
    return "\n".join(lines)


def _figure(value: Any) -> str:
    return f"{'-':>8}" if value is None else f"{value:8.4f}"
