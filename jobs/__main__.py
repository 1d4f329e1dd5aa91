"""`python -m jobs`: the command without an installed console script."""

from .cli import main

main()
