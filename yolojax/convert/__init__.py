"""Darknet files in and out."""
