"""The decoded output of every detection head."""

from typing import NamedTuple

import jax


class Predictions(NamedTuple):
    """N decoded boxes per image, ordered by (row, column, box of the cell)."""

    boxes: jax.Array  # [B, N, 4] xyxy, 0..1 of the network input, not clipped to it
    objectness: jax.Array  # [B, N], in 0..1; YOLOv1's are linear and may be outside
    class_probs: jax.Array  # [B, N, C], sum to 1 over C; YOLOv1's are linear
    labels: jax.Array | None = (
        None  # int32 [B, N, C], the classes of class_probs; None means 0..C-1
    )


def scores(predictions: Predictions):
    """Compute objectness * class probability [B, N, C], the score of a detection."""
    return predictions.objectness[..., None] * predictions.class_probs
