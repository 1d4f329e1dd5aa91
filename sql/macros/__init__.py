"""One file per table macro that readers call."""
