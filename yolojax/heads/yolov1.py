"""Decode the raw output of YOLOv1 (paper, section 2; Darknet's detection_layer.c).

The raw output of the S x S cells is one vector: C class scores of each cell, then n confidences of
each cell, then n times x, y, w, h of each cell. None of them has an activation.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.heads.predictions import Predictions
from yolojax.ops.boxes import cxcywh_to_xyxy


class CellOutputs(NamedTuple):
    """The parts of the raw output; S is the side of the grid, n the number of boxes per cell."""

    logits: jax.Array  # [B, S, S, C] class scores; probabilities unless a softmax follows
    confidence: jax.Array  # [B, S, S, n] probability of an object * IoU
    shapes: jax.Array  # [B, S, S, n, 4] x, y of the centre in the cell; w, h in 0..1, or roots


def split(raw, side: int, boxes: int) -> CellOutputs:
    """Split `raw` [B, S * S * (C + 5 * n)] into its parts, with S = `side` and n = `boxes`.

    Raises:
        ValueError: `raw` does not divide into cells of more than 5 * n values.
    """
    values = raw.shape[-1] // side**2
    if raw.ndim != 2 or raw.shape[-1] % side**2 or values <= 5 * boxes:
        raise ValueError(
            f"raw must be [B, S * S * (C + 5 * n)] for side S = {side}, n = {boxes} boxes per cell "
            f"and C >= 1 classes, got shape {raw.shape}; do side and boxes belong to this network?"
        )
    classes, grid = values - 5 * boxes, (len(raw), side, side)
    logits, confidence, shapes = jnp.split(
        raw, [side**2 * classes, side**2 * (classes + boxes)], axis=1
    )
    return CellOutputs(
        logits=logits.reshape(*grid, classes),
        confidence=confidence.reshape(*grid, boxes),
        shapes=shapes.reshape(*grid, boxes, 4),
    )


def decode_boxes(cells: CellOutputs, square_root: bool):
    """Return boxes [B, S, S, n, 4] xyxy of the network input.

    With `square_root` the output is the root of width and height, of either sign. Without, a
    negative size swaps the edges of the box, as in Darknet.
    """
    side = cells.shapes.shape[1]
    centre, size = jnp.split(cells.shapes, 2, axis=-1)
    size = jnp.square(size) if square_root else size
    return cxcywh_to_xyxy(
        jnp.concatenate([(centre + cell_corners(side)[:, :, None]) / side, size], axis=-1)
    )


def cell_corners(side: int):
    """Return the left top corners [S, S, 2] of the cells as (column, row)."""
    return jnp.stack(jnp.meshgrid(jnp.arange(side), jnp.arange(side)), axis=-1)


def class_probs(cells: CellOutputs, class_softmax: bool):
    """Return class probabilities [B, S, S, C]: the class scores, or their softmax."""
    return jax.nn.softmax(cells.logits) if class_softmax else cells.logits


def decode(
    raw, side: int, boxes: int, square_root: bool = True, class_softmax: bool = False
) -> Predictions:
    """Decode a batch; the boxes of a cell share its class probabilities.

    Without `square_root`, a negative width or height becomes 0. Darknet leaves the edges swapped;
    neither box overlaps any other.

    Args:
        raw: [B, S * S * (C + 5 * n)], the network's output.
        side: S, cells in a row.
        boxes: n, boxes per cell.
        square_root: the output is the root of width and height ([detection] sqrt).
        class_softmax: apply a softmax to class scores ([detection] softmax).

    Raises:
        ValueError: `raw` does not fit `side` and `boxes`.
    """
    cells = split(raw, side, boxes)
    if not square_root:
        centre, size = jnp.split(cells.shapes, 2, axis=-1)
        cells = cells._replace(shapes=jnp.concatenate([centre, jnp.maximum(size, 0)], axis=-1))
    probs = class_probs(cells, class_softmax)[:, :, :, None]
    probs = jnp.broadcast_to(probs, (*cells.confidence.shape, probs.shape[-1]))
    return Predictions(
        boxes=decode_boxes(cells, square_root).reshape(len(raw), -1, 4),
        objectness=cells.confidence.reshape(len(raw), -1),
        class_probs=probs.reshape(len(raw), -1, probs.shape[-1]),
    )
