"""Prints, per module, how many small changes (mutants) the quick tests noticed; ends with 1 below the least share.

A mutant that makes a test hang or crash counts as noticed. Reads what `mutmut run` left in `mutants/`.
"""

import json
import sys
from pathlib import Path

LEAST = 0.85
NOTICED = {1, 3, 24, -24, 36, 152, 255, -11}
"""mutmut's codes: a test failed, the interpreter was stopped for its time, or it crashed."""
UNTRIED = {None, 2, 34, -9}
"""Not reached yet, interrupted, left out."""
noticed = tried = 0

for path in sorted(Path("mutants").rglob("*.py.meta")):
    codes = list(json.loads(path.read_text())["exit_code_by_key"].values())
    known = [code for code in codes if code not in UNTRIED]
    if known:
        killed = sum(code in NOTICED for code in known)
        noticed, tried = noticed + killed, tried + len(known)
        name = str(path.relative_to("mutants")).removesuffix(".meta")
        print(f"{name:36} {killed:5} of {len(known):5} noticed, {killed / len(known):6.1%}; {len(codes)} in all")
print(f"{'together':36} {noticed:5} of {tried:5} noticed, {noticed / max(tried, 1):6.1%}")
sys.exit(noticed < LEAST * tried)
