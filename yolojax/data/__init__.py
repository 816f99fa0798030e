"""Data sets: sources of records, transforms, and loaders of padded batches."""
