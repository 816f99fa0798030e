"""Decode the raw output of a network to boxes and class probabilities."""
