"""From files to padded batches."""
