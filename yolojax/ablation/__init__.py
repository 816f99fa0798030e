"""Ablations: a folder of overlays, each a few lines on the ones before -> runs -> a table."""
