"""`recbatch export`: a run's model as TensorFlow SavedModels, for TensorFlow Serving."""

from __future__ import annotations

from pathlib import Path

import click

from recbatch import serving, views
from recbatch.errors import InputMissing
from recbatch.serving import writing
from recbatch.store import Lake

from ._lake import manifest_of
from ._options import json_option, lake_option, print_json
from ._say import Say
from ._serving import config_of, tables_of


@click.command()
@lake_option
@json_option
@click.option("--run", "run_id", metavar="RUN", help="Which run. Default: the live one.")
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where they go.")
@click.option("--index", type=click.Choice([*serving.INDEXES, "both"]), default="brute", show_default=True)
@click.option("--k", type=click.IntRange(1, 10_000), help="Titles per answer. Default: the run's k.")
@click.option("--force", is_flag=True, help="Take the place of an export that is there.")
@click.option("--source", help="Where the run's input lies, if it has moved.")
@click.option("--data-dir", help="Prepared tensorflow-datasets directory, if it has moved.")
def export(
    lake: Lake,
    as_json: bool,
    run_id: str | None,
    folder: Path,
    index: str,
    k: int | None,
    force: bool,
    source: str | None,
    data_dir: str | None,
) -> None:
    """Write a run's model as SavedModels that answer like its published table: two per index, by user and by history.

    They hold the weights and biases of that night and are whole or not there. The run's source is read again, because
    the lake keeps no histories; it must be what the night read.

    \b
    recbatch export --to serving --index both --k 20
    recbatch export --run 1998-04-23.1 --to serving --force --json
    """
    lake.require()
    writing.require_free(folder, force=force)
    run_id = run_id or views.live_runs(lake)[-1]
    if not lake.run(run_id).is_dir():
        raise InputMissing(f"{lake.root}: no published run {run_id}; `recbatch runs` lists them")
    run = manifest_of(lake, run_id)
    config = config_of(run, source, data_dir)
    indexes = serving.INDEXES if index == "both" else (index,)
    with Say() as say:
        tables = tables_of(lake, run, config, say)
        say.stage("export")
        head = {key: run[key] for key in ("contract", "run_id", "run_date", "model_id", "keep_seen")}
        manifest = serving.write(
            folder, tables, head, indexes=indexes, k=k or run["k"], force=force, progress=say.progress
        )
    facts = {key: manifest[key] for key in ("run_id", "model_id", "k", "models")} | {
        "to": str(folder),
        "version": serving.version_of(run["run_id"]),
        "bytes": sum(file["bytes"] for file in manifest["files"].values()),
    }
    if as_json:
        print_json(facts)
        return
    click.echo(f"run {facts['run_id']}, {facts['k']} titles per answer, {facts['bytes'] / 1e6:,.1f} MB in {folder}")
    for name in facts["models"]:
        click.echo(f"  {name}/{facts['version']}")
