"""Ablations: a folder of overlays, each changing the previous config -> runs -> a table."""
