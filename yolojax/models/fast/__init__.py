"""Faster forms of layers for one platform each; the plain layers are the definition."""
