"""Drawings of boxes, and plots."""
