"""Prints, per module, how many small changes (mutants) the quick tests noticed; ends with 1 below the least share.

A mutant that makes a test hang counts as noticed. Reads what `mutmut run` left in `mutants/`.
"""

import json
import sys
from pathlib import Path

LEAST = 0.85


def main() -> int:
    """Prints the table; returns the exit code."""
    noticed = tried = 0
    for path in sorted(Path("mutants").rglob("*.py.meta")):
        codes = list(json.loads(path.read_text())["exit_code_by_key"].values())
        known = [code for code in codes if code not in (None, 34)]
        if not known:
            continue
        killed = sum(code not in (0, 33) for code in known)
        noticed, tried = noticed + killed, tried + len(known)
        name = str(path.relative_to("mutants")).removesuffix(".meta")
        print(f"{name:40} {killed:5} of {len(known):5} noticed, {killed / len(known):6.1%}; {len(codes)} in all")
    print(f"{'together':40} {noticed:5} of {tried:5} noticed, {noticed / max(tried, 1):6.1%}")
    return int(noticed < LEAST * tried)


sys.exit(main())
