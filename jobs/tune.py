"""`recbatch tune`: looks for better training settings on the latest days, and proposes them; it changes nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import click

from recbatch import dataset, evaluate, metrics, publish, score, sources, split, store, train, withdrawn
from recbatch.config import Config, Train, toml_value
from recbatch.contracts import Dataset, Json, Split
from recbatch.errors import DataError
from recbatch.evaluate import HeldOut
from recbatch.metrics import Float64s
from recbatch.store import Lake

from ._items import leave_out
from ._judge import lists_of
from ._model import Judged
from ._options import RunDate, config_options, json_option, lake_option, print_json
from ._say import Say, now
from ._study import Found, require_optuna, search

_SECTIONS = ("seed", "dataset", "judge", "score", "popular")
"""What a figure depends on besides the events and [train]."""
_WHEN_TO_TRAIN = {"mode", "max_model_age_days", "max_vocabulary_drift"}
_NICENESS = 10
"""A night that runs beside a tuning gets the processor first."""


@click.command()
@lake_option
@config_options
@json_option
@click.option("--source", envvar="RECBATCH_SOURCE", help="As for `recbatch nightly`.")
@click.option("--data-dir", envvar="RECBATCH_DATA_DIR", help="Prepared tensorflow-datasets directory.")
@click.option("--run-date", type=RunDate(), help="Use events before this date, UTC. Default: today.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=10, show_default=True, help="Time box.")
@click.option("--trials", type=click.IntRange(1), help="End after so many trials. Default: when the time is up.")
def tune(
    lake: Lake,
    settings: Callable[[dict[str, Any]], Config],
    as_json: bool,
    source: str | None,
    data_dir: str | None,
    run_date: date | None,
    minutes: float,
    trials: int | None,
) -> None:
    """Look for better settings of [train] on the slice of days that judges a night, and propose them as lines of TOML.

    Every trial trains without those days and is judged on them. The study is kept in LAKE/tuning and gone on with by
    the same command on the same events. It does not take the lake's lock: a night never waits for it, and gets the
    processor first. Needs pip install 'recbatch[tune]'.

    \b
    recbatch tune --minutes 10 --source movielens/100k --run-date 1998-04-23
    recbatch tune --trials 20 --config recbatch.toml --json
    """
    require_optuna()
    config = settings({"source.uri": source, "source.data_dir": data_dir})
    os.nice(_NICENESS)
    with Say() as say:
        say.stage("read")
        data = _read(lake, config, run_date or now().date(), say)
        parts = split.by_time(data, config.judge)
        pairs = evaluate.held_out(parts, keep_seen=config.score.keep_seen, most=config.judge.users_most)
        if len(pairs.users) < config.judge.users_needed or not len(parts.train.items):
            raise DataError(
                f"{config.source.uri}: {len(pairs.users)} users to judge before {data.run_date}, fewer than"
                f" judge.users_needed, {config.judge.users_needed}; raise judge.max_days or choose another --run-date"
            )
        say.stage("tune")
        store.make_folder(lake.tuning)
        journal = lake.tuning / f"{_study_name(data, config)}.journal"
        with store.lock_of(lake.tuning):
            found = search(
                journal,
                config.train,
                _objective(data, parts, pairs, config),
                trials=trials,
                seconds=60 * minutes,
                seed=config.seed,
                progress=say.progress,
            )
    facts = _facts(found, config, journal, parts, pairs)
    print_json(facts) if as_json else click.echo(_text(facts))


def _read(lake: Lake, config: Config, run_date: date, say: Say) -> Dataset:
    """What a night of this date reads."""
    merge = config.source.merge_by_title
    tables = sources.read(config.source, before=run_date, today=now().date(), progress=say.progress)
    tables = dataset.without_users(tables, publish.forgotten(lake))
    tables = leave_out(tables, withdrawn.read(lake), merge_by_title=merge)
    return dataset.build(tables, config.dataset, run_date, merge_by_title=merge)


def _study_name(data: Dataset, config: Config) -> str:
    """One study per events, judging and settings as they are: its trials are comparable."""
    depends_on: Json = {
        "data": data.fingerprint,
        "train": config.train.model_dump(mode="json", exclude=_WHEN_TO_TRAIN),
        "rest": config.digest(*_SECTIONS),
    }
    return f"{data.run_date}-{hashlib.sha256(store.canonical(depends_on)).hexdigest()[:12]}"


def _objective(data: Dataset, parts: Split, pairs: HeldOut, config: Config) -> Callable[[Train], Float64s]:
    """Settings → the gate's figure of each judged user, by a model trained without the judged days."""
    until = parts.judge_from.date() if parts.judge_from else data.run_date
    popular = score.by_popularity(data, parts.train, until, config.popular)

    def judged(wanted: Train) -> Float64s:
        fitted = train.fit(parts.train, data, wanted, config.seed)
        lists = lists_of(Judged(fitted.towers, parts.train), popular, parts, pairs, data, config)
        per_user = metrics.PER_USER[config.judge.metric]
        return per_user(evaluate.ranks_of(pairs, lists), pairs.user_of, len(pairs.users), config.judge.metric_k)

    return judged


def _facts(found: Found, config: Config, journal: Path, parts: Split, pairs: HeldOut) -> Json:
    value, low, high = found.difference(config.judge.bootstrap_samples, config.seed)
    now = config.train.model_dump(mode="json")
    return {
        "study": str(journal),
        "protocol": parts.protocol,
        "users": len(pairs.users),
        "trials": found.trials,
        "metric": f"{config.judge.metric}@{config.judge.metric_k}",
        "current": float(found.current.mean()),
        "best": float(found.best.mean()),
        "difference": {"value": value, "ci_low": low, "ci_high": high},
        "changes": {f"train.{name}": {"old": now[name], "new": new} for name, new in sorted(found.settings.items())},
    }


def _text(facts: Json) -> str:
    tried = f"{facts['trials']} trials on {facts['users']} users of {facts['protocol']}, {facts['study']}"
    if not facts["changes"]:
        return f"{tried}\nnothing beats the settings as they are: {facts['metric']} {facts['current']:.4f}"
    gap = facts["difference"]
    lines = [
        tried,
        f"{facts['metric']} {facts['current']:.4f} -> {facts['best']:.4f}, difference {gap['value']:+.4f}"
        f" (paired 95 % interval {gap['ci_low']:+.4f} to {gap['ci_high']:+.4f})",
        "proposed, not applied" + ("; no more than chance explains" if gap["ci_low"] <= 0 else "") + ":",
        "[train]",
    ]
    for key, change in facts["changes"].items():
        name = key.removeprefix("train.")
        lines += [f"-{name} = {toml_value(change['old'])}", f"+{name} = {toml_value(change['new'])}"]
    return "\n".join(lines)
