"""`recbatch doctor`: will tonight's night run here?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict

import click

from recbatch.config import Config
from recbatch.store import Lake

from ._checkup import FAIL, examine
from ._options import config_options, json_option, lake_option, print_json


@click.command()
@lake_option
@config_options
@json_option
def doctor(lake: Lake, settings: Callable[[], Config], as_json: bool) -> None:
    """Look at versions, processor, memory, settings, input, folders, clock, disk, lake and lock, and say what to do.

    Exit 0 where the night can run, warnings included, 1 where it cannot.

    \b
    recbatch doctor --lake lake --config recbatch.toml
    """
    findings = list(examine(lake, settings))
    healthy = not any(finding.outcome == FAIL for finding in findings)
    if as_json:
        print_json({"healthy": healthy, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            cure = f"; {finding.cure}" if finding.cure else ""
            click.echo(f"{finding.outcome:<5} {finding.check:<17} {finding.found}{cure}")
    sys.exit(0 if healthy else 1)
