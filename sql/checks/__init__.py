"""One file per invariant of a staged run: a select that must return no rows."""
