"""Darknet's files: .cfg, .weights, .names and .data, and how Darknet resizes pictures."""
