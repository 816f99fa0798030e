"""What the raw output of a network means."""
