"""Readers of data sets; each returns a Source of records."""
