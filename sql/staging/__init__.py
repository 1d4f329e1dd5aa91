"""One file per table of a run: names and types, straight off the Parquet files."""
