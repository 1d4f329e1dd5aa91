"""`recbatch config`: settings, shown and checked without a night."""

from __future__ import annotations

from collections.abc import Callable

import click

from recbatch.config import Config, to_toml

from ._options import config_options, json_option, print_json


@click.group()
def config() -> None:
    """Show or check the settings of recbatch.toml."""


@config.command()
@config_options
@json_option
def show(settings: Callable[[], Config], as_json: bool) -> None:
    """Print every setting with its meaning, as a recbatch.toml that can be edited.

    \b
    recbatch config show > recbatch.toml
    recbatch config show --set train.epochs=20
    """
    chosen = settings()
    if as_json:
        print_json(chosen.model_dump(mode="json"))
    else:
        click.echo(to_toml(chosen), nl=False)


@config.command()
@config_options
def check(settings: Callable[[], Config]) -> None:
    """Check a settings file: exit 0 if it is sound, 78 with one line if not.

    \b
    recbatch config check --config recbatch.toml
    """
    chosen = settings()
    conditions = {f"rules.boosts.{sql!r}": sql for sql in chosen.rules.boosts}
    if chosen.rules.eligible is not None:
        conditions["rules.eligible"] = chosen.rules.eligible
    if conditions:
        from recbatch import rules  # DuckDB's half second, which settings without conditions need not pay

        for key, sql in conditions.items():
            rules.require_parsed(sql, key)
    click.echo(f"sound, digest {chosen.digest()[:12]}")
