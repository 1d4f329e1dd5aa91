"""`recbatch data import`: data for a machine without a network."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from recbatch import sources

from ._options import json_option, print_json


@click.group()
def data() -> None:
    """Bring in data."""


@data.command("import")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--data-dir", type=click.Path(path_type=Path), envvar="RECBATCH_DATA_DIR", help="Where to put it.")
@json_option
def import_(path: Path, data_dir: Path | None, as_json: bool) -> None:
    """Import MovieLens from an official zip (for movielens/…), a recbole wheel or a folder of atomic files.

    \b
    recbatch data import ml-latest-small.zip --data-dir data
    recbatch data import recbole-1.2.1-py3-none-any.whl --data-dir data
    """
    report = sources.import_data(path, data_dir=data_dir)
    if as_json:
        print_json(asdict(report))
    else:
        click.echo(f"imported {path}; use it with --source {report.source}")
