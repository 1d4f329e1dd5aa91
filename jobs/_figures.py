"""Figures of a comparison: means, intervals and ratios; as a table, as one flat JSON object, as a plot."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import metrics, store
from recbatch.config import Config
from recbatch.contracts import Json
from recbatch.metrics import Float64s

from . import _peers
from ._options import Command, print_json
from ._quality import OURS, Comparison
from ._run import machine
from ._tables import print_table

_SCHEMA = pa.schema(
    {
        "metric": pa.string(),
        "contender": pa.string(),
        "value": pa.float64(),
        "spread": pa.float64(),
        "ci_low": pa.float64(),
        "ci_high": pa.float64(),
        "counted": pa.int64(),
        "over_ease": pa.float64(),
        "seconds": pa.float64(),
        "settings": pa.string(),
    }
)
"""One row per metric and contender. `spread`: standard deviation over splits; the interval is that of one split."""


def peers_option(default: Sequence[str]) -> Callable[[Command], Command]:
    """`--peers a,b,c`, handed over as a list of names."""
    return click.option(
        "--peers", default=",".join(default), show_default=True, callback=_peer_names, help="Whom to compare with."
    )


def _peer_names(ctx: click.Context, param: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in names if name not in _peers.GRIDS]
    if unknown:
        raise click.BadParameter(f"no peer {unknown[0]!r}; use some of {','.join(_peers.GRIDS)}")
    return list(dict.fromkeys(names))


def tell(comparison: Comparison, config: Config, *, as_json: bool, out: Path | None) -> None:
    """Prints a comparison, as text or as one flat object; writes its table and plot where a folder is named."""
    samples, seed = config.judge.bootstrap_samples, config.seed
    rows = table(comparison, samples, seed)
    if out is not None:
        write(out, comparison, rows)
    if as_json:
        print_json({"source": config.source.uri} | flat(comparison, rows, samples, seed))
        for note in comparison.notes:
            click.echo(note, err=True)
    else:
        show(comparison, rows)


def table(comparison: Comparison, samples: int, seed: int) -> pa.Table:
    """One row per metric and contender, the best first within a metric.

    Args:
        comparison: what was measured.
        samples: bootstrap resamples.
        seed: of the bootstrap.
    """
    rows: list[Json] = []
    for metric in _metrics(comparison):
        low, high = _intervals(comparison, metric, samples, seed)
        ratio = _ratios(comparison, metric, "ease")
        found = [
            _row(comparison, metric, name) | {"ci_low": low[name], "ci_high": high[name], "over_ease": ratio.get(name)}
            for name in comparison.splits[0]
        ]
        rows += sorted(found, key=lambda row: -row["value"])
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def flat(comparison: Comparison, rows: pa.Table, samples: int, seed: int) -> Json:
    """The same as one flat object, with ratios to each peer and to the best one, and the machine."""
    said: Json = {"protocol": comparison.protocol, **comparison.counted}
    for row in rows.to_pylist():
        key = f"{row['contender']}_{row['metric']}"
        said |= {key: row["value"], f"{key}_spread": row["spread"]}
        said |= {
            f"{key}_ci_low": row["ci_low"],
            f"{key}_ci_high": row["ci_high"],
            f"{row['metric']}_counted": row["counted"],
        }
        said |= {f"{row['contender']}_seconds": row["seconds"], f"{row['contender']}_settings": row["settings"]}
    for metric in _metrics(comparison):
        for peer in list(comparison.splits[0])[1:]:
            said[f"{OURS}_over_{peer}_{metric}"] = _ratios(comparison, metric, peer).get(OURS)
        said |= _against_best(comparison, metric, samples, seed)
    return said | {f"machine_{key}": value for key, value in machine().items()}


def show(comparison: Comparison, rows: pa.Table) -> None:
    """Prints the table, what was counted, and how it was done."""
    print_table(rows)
    click.echo(", ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in comparison.counted.items()))
    for note in comparison.notes:
        click.echo(note)


def write(folder: Path, comparison: Comparison, rows: pa.Table) -> None:
    """Writes `quality.parquet` and `quality.png` into a folder, whole or not at all."""
    store.make_folder(folder)
    parquet = io.BytesIO()
    pq.write_table(rows, parquet)
    store.write_bytes(folder / "quality.parquet", parquet.getvalue())
    store.write_bytes(folder / "quality.png", plot(comparison, rows))


def plot(comparison: Comparison, rows: pa.Table) -> bytes:
    """PNG: one panel per metric, one dot with its interval per contender."""
    from matplotlib.figure import Figure

    names = _metrics(comparison)
    contenders = list(comparison.splits[0])[::-1]
    figure = Figure(figsize=(3.1 * len(names), 0.9 + 0.35 * len(contenders)), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(names), sharey=True))
    for panel, metric in zip(panels, names, strict=True):
        by_name = {row["contender"]: row for row in rows.to_pylist() if row["metric"] == metric}
        for place, name in enumerate(contenders):
            row, colour = by_name[name], "#0072B2" if name == OURS else "#8A929B"
            panel.plot([row["ci_low"], row["ci_high"]], [place, place], color=colour, linewidth=2)
            panel.plot([row["value"]], [place], "o", color=colour)
        panel.set_yticks(range(len(contenders)), contenders)
        panel.set_title(metric.replace("_at_", "@").replace("_", " "), loc="left", fontsize=10)
        panel.set_xlim(0, 1.08 * max(row["ci_high"] for row in by_name.values()) or 1)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"protocol {comparison.protocol}, 95 % intervals", fontsize=10)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=120)
    return drawn.getvalue()


def _metrics(comparison: Comparison) -> list[str]:
    """Figures for which there is somebody to count in every split."""
    values = [splits[OURS].values for splits in comparison.splits]
    return [name for name in values[0] if all(len(one[name]) for one in values)]


def _row(comparison: Comparison, metric: str, name: str) -> Json:
    measured = [contenders[name] for contenders in comparison.splits]
    means = [float(one.values[metric].mean()) for one in measured]
    return {
        "metric": metric,
        "contender": name,
        "value": float(np.mean(means)),
        "spread": float(np.std(means, ddof=1)) if len(means) > 1 else 0.0,
        "counted": len(measured[0].values[metric]),
        "seconds": float(np.mean([one.seconds for one in measured])),
        "settings": " ".join(f"{key}={value:g}" for key, value in measured[0].settings.items()),
    }


def _columns(comparison: Comparison, metric: str, names: Sequence[str], number: int) -> Float64s:
    return np.stack([comparison.splits[number][name].values[metric] for name in names], axis=1)


def _intervals(
    comparison: Comparison, metric: str, samples: int, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Each end of the interval of one split, averaged over the splits."""
    names = list(comparison.splits[0])
    ends = [
        metrics.bootstrap_intervals(_columns(comparison, metric, names, number), samples, seed)
        for number in range(len(comparison.splits))
    ]
    low, high = np.mean(ends, axis=0)
    return dict(zip(names, low.tolist(), strict=True)), dict(zip(names, high.tolist(), strict=True))


def _ratios(comparison: Comparison, metric: str, reference: str) -> dict[str, float]:
    """Each contender's mean over that of one of them on the same split, averaged over the splits; none if it is 0."""
    if reference not in comparison.splits[0]:
        return {}
    found = {}
    for name in comparison.splits[0]:
        pairs = [(one[name].values[metric].mean(), one[reference].values[metric].mean()) for one in comparison.splits]
        if all(below > 0 for _, below in pairs):
            found[name] = float(np.mean([above / below for above, below in pairs]))
    return found


def _against_best(comparison: Comparison, metric: str, samples: int, seed: int) -> Json:
    """The best peer by this metric, the ratio to it, and the paired interval of the difference."""
    peers = list(comparison.splits[0])[1:]
    if not peers:
        return {}
    best = max(peers, key=lambda name: float(_row(comparison, metric, name)["value"]))
    ends = []
    for number in range(len(comparison.splits)):
        ours, theirs = _columns(comparison, metric, [OURS, best], number).T
        ends.append(metrics.bootstrap_intervals((ours - theirs)[:, None], samples, seed))
    low, high = np.mean(ends, axis=0)[:, 0].tolist()
    key = f"{OURS}_minus_best_peer_{metric}"
    return {
        f"best_peer_{metric}": best,
        f"{OURS}_over_best_peer_{metric}": _ratios(comparison, metric, best).get(OURS),
        f"{key}_ci_low": low,
        f"{key}_ci_high": high,
    }


def _short(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if abs(value) < 1 else f"{value:,.1f}"
