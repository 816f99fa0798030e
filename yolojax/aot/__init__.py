"""Compile the programs of a config for TPUs without having one, and report memory and cost.

All figures are estimates of the compiler. Nothing runs on hardware.
"""
