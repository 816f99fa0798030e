"""The programs of a config, compiled for TPUs that are not there: whether they fit, what they cost.

Everything here is an estimate of the compiler; nothing runs on hardware.
"""
