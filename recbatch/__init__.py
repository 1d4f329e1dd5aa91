"""recbatch: nightly batch recommendations, from interactions to audited Parquet tables behind DuckDB views."""

__version__ = "0.1.0"
