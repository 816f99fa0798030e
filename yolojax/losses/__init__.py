"""Objectives: one signature each, named element-wise terms, reduced in one place."""
