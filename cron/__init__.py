"""Files for schedulers, written out by `recbatch init`."""
