"""What every detection head decodes to."""

from typing import NamedTuple

import jax


class Predictions(NamedTuple):
    """Decoded boxes, ordered by (row, column, box of the cell); N of them per image."""

    boxes: jax.Array  # [B, N, 4] xyxy, 0..1 of the network input, not clipped to it
    objectness: jax.Array  # [B, N], 0..1; YOLOv1's are linear and may leave it
    class_probs: jax.Array  # [B, N, C], sum to 1 over C; YOLOv1's are linear
    labels: jax.Array | None = None  # int32 [B, N, C], the classes these are; None: 0 to C - 1


def scores(predictions: Predictions):
    """Objectness times class probability, [B, N, C]: what detections are ranked by."""
    return predictions.objectness[..., None] * predictions.class_probs
