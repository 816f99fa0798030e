"""Training: state, step, optimizer, checkpoints, records, goodput, signals."""
