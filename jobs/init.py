"""`recbatch init`: the files an operator starts from, written out with this machine's paths."""

from __future__ import annotations

import importlib.resources
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from recbatch import store
from recbatch.config import Config, to_toml
from recbatch.errors import CannotCreate
from recbatch.store import Lake

from ._options import config_options, json_option, lake_option, print_json

_EXECUTABLE = 0o750
_FILES = {
    "nightly.sh": "cron/nightly.sh",
    "recbatch.crontab": "cron/recbatch.crontab",
    "airflow/recbatch_nightly.py": "cron/airflow/recbatch_nightly.py",
    "dbt/sources.yml": "dbt/models/sources.yml",
}
"""File of the package recbatch.cron → where it goes; one that this version does not bring is left out."""


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), default=".")
@lake_option
@config_options
@json_option
@click.option("--force", is_flag=True, help="Replace files that are there.")
def init(directory: Path, lake: Lake, settings: Callable[[dict[str, Any]], Config], as_json: bool, force: bool) -> None:
    """Write a commented recbatch.toml, cron/nightly.sh with its crontab, an Airflow DAG and dbt sources into DIRECTORY.

    Nothing is installed: the last lines say how to.

    \b
    recbatch init /srv/recbatch --lake /srv/recbatch/lake --set source.uri=files:/data/events
    """
    home = directory.absolute()
    files = contents(home, lake.root.absolute(), settings({}))
    there = [name for name in files if (home / name).exists()]
    if there and not force:
        raise CannotCreate(f"{home / there[0]} is there already; choose another folder, or replace it with --force")
    for name, text in files.items():
        store.make_folder((home / name).parent)
        store.write_bytes(home / name, text.encode())
    (home / "cron/nightly.sh").chmod(_EXECUTABLE)
    if as_json:
        print_json({"directory": str(home), "files": list(files)})
        return
    for name in files:
        click.echo(f"wrote {home / name}")
    click.echo(f"next: recbatch doctor --config {home / 'recbatch.toml'} --lake {lake.root.absolute()}")
    click.echo(f"cron: crontab {home / 'cron/recbatch.crontab'}")
    click.echo(f"Airflow 3: put {home / 'cron/airflow/recbatch_nightly.py'} into its dags folder and set what it names")


def contents(home: Path, lake: Path, config: Config) -> dict[str, str]:
    """Path below `home` → text of every file; the settings' own words explain recbatch.toml."""
    files = {"recbatch.toml": to_toml(config)}
    package = importlib.resources.files("recbatch.cron")
    for name, target in _FILES.items():
        if package.joinpath(name).is_file():
            files[target] = package.joinpath(name).read_text("utf-8")
    places = {
        "RECBATCH_HOME": home,
        "RECBATCH_BIN": Path(sys.executable).parent,
        "RECBATCH_LAKE": lake,
        "RECBATCH_CONFIG": home / "recbatch.toml",
    }
    for key, place in places.items():
        lines = files["cron/recbatch.crontab"].splitlines()
        lines = [f"{key}={place}" if line.startswith(f"{key}=") else line for line in lines]
        files["cron/recbatch.crontab"] = "\n".join(lines) + "\n"
    return files
