"""One file per view that readers query."""
