"""The SQL that readers query: one select per file, loaded as package data."""
