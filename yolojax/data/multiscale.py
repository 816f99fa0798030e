"""The input size of every batch of a training: a pure function, so that all hosts agree."""

from collections.abc import Sequence

import numpy as np


def size_for(
    step: int,
    *,
    seed: int,
    sizes: Sequence[int],
    every: int = 10,
    total_steps: int = 0,
    last: int = 200,
) -> int:
    """The side in pixels of batch `step` (from 0), out of `sizes`.

    Drawn anew for each `every` batches from the first on (YOLO9000 paper, section 2, multi-scale
    training); the `last` of `total_steps` batches are at the largest (detector.c, train_detector).
    `total_steps` 0 means that the end is not known.

    Raises:
        ValueError: `every` is below 1.
    """
    if every < 1:
        raise ValueError(f"multiscale_every must be at least 1, got {every}.")
    if total_steps and step >= total_steps - last:
        return max(sizes)
    draw = np.random.default_rng([seed, step // every]).integers(len(sizes))
    return int(sizes[draw])
