"""Checks and statistics of a data set, and the shapes of its boxes."""
