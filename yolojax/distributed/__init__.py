"""Devices and processes: mesh and sharding, process start, heartbeat, XLA flags, chips."""
