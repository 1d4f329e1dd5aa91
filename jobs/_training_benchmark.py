"""`recbatch benchmark training`: what a minute of training buys on large data, and where the time of a step goes."""

from __future__ import annotations

import resource
from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

import click
import numpy as np
import pyarrow as pa

from recbatch import evaluate, metrics, score, split, train
from recbatch.config import Config
from recbatch.contracts import Dataset, Json, Popular, Split
from recbatch.evaluate import HeldOut

from ._judge import lists_of
from ._model import Judged
from ._options import RunDate, config_options, json_option, print_json
from ._quality import read_all
from ._run import machine
from ._say import Say
from ._tables import print_table

_WORLD = "sample:users=140000,titles=27000,events_per_user=142"
_K = 10


def _numbers(_context: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(each) for each in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise click.BadParameter(f"{text!r}: expected numbers of steps, e.g. 250,500,1000")
    return found


@click.command("training")
@config_options
@json_option
@click.option("--source", default=_WORLD, show_default=True, help="20 million events by default.")
@click.option(
    "--until", type=RunDate(), help="Use events before this date. Default: all, or a dense month of `sample`."
)
@click.option(
    "--steps", callback=_numbers, default="250,500,1000,2000", show_default=True, help="Gradient steps per part."
)
def training_command(
    settings: Callable[[dict[str, Any]], Config], as_json: bool, source: str, until: date | None, steps: tuple[int, ...]
) -> None:
    """Train on large data with more and more steps, and judge each model by the last days, which it has not seen.

    Every training begins from new weights and has its own schedule: each line is what that many minutes buy. Memory is
    the peak of the whole process, reading and judging included.

    \b
    recbatch benchmark training
    recbatch benchmark training --source files:data --steps 500,1000 --json
    """
    config = settings({"source.uri": source})
    with Say() as say:
        say.stage("read")
        dense = date(2020, 1, 1) if source.startswith("sample") else None
        data = read_all(config, until or dense, say.progress)
        parts = split.by_time(data, config.judge)
        pairs = evaluate.held_out(parts, keep_seen=False, most=config.judge.users_most)
        morning = parts.judge_from or datetime.combine(data.run_date, time())
        popular = score.by_popularity(data, parts.train, morning.date(), config.popular)
        say.stage("train")
        times = train.step_times(parts.train, data, config.train, config.seed)  # first: loads TensorFlow as well
        rows = [_trained(wanted, parts, pairs, popular, data, config, say) for wanted in steps]
    found: Json = {
        "source": config.source.uri,
        "events": len(data.events.items),
        "users": data.num_users,
        "titles": data.num_items,
        "judged_users": len(pairs.users),
        "popularity_ndcg_at_10": _reached(None, popular, parts, pairs, data, config),
        "step_input_seconds": times.input,
        "step_forward_seconds": times.forward,
        "step_update_seconds": times.update,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    if as_json:
        for row in rows:
            found |= {f"{name}_after_{row['steps']}": value for name, value in row.items() if name != "steps"}
        print_json(found | {f"machine_{key}": value for key, value in machine().items()})
        return
    click.echo(
        f"{found['events']:,} events, {data.num_users:,} users, {data.num_items:,} titles;"
        f" {len(pairs.users):,} users judged; popularity: ndcg@10 {found['popularity_ndcg_at_10']:.4f}"
    )
    print_table(pa.Table.from_pylist(rows))
    whole = times.input + times.forward + times.update
    click.echo(
        f"a step takes {whole * 1e3:.0f} ms: {times.input / whole:.0%} input, {times.forward / whole:.0%} forward,"
        f" {times.update / whole:.0%} update; peak memory {found['peak_bytes'] / 2**30:.2f} GiB"
    )


def _trained(
    steps: int, parts: Split, pairs: HeldOut, popular: Popular, data: Dataset, config: Config, say: Say
) -> Json:
    settings = config.train.model_copy(update={"max_steps": steps})
    fitted = train.fit(parts.train, data, settings, config.seed, progress=say.progress)
    judged = Judged(fitted.towers, parts.train)
    return {
        "steps": steps,
        "minutes": fitted.seconds / 60,
        "ndcg_at_10": _reached(judged, popular, parts, pairs, data, config),
    }


def _reached(
    judged: Judged | None, popular: Popular, parts: Split, pairs: HeldOut, data: Dataset, config: Config
) -> float:
    """Mean ndcg@10."""
    ranks = evaluate.ranks_of(pairs, lists_of(judged, popular, parts, pairs, data, config))
    return float(np.mean(metrics.ndcg(ranks, pairs.user_of, len(pairs.users), _K)))
