"""Checks that every loss must pass; `yolojax check-loss` runs them."""
