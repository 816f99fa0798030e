"""What the raw output of YOLOv2 means (YOLO9000 paper, section 2; Darknet's region_layer.c).

The channels of a cell are, for each anchor in turn, t_x, t_y, t_w, t_h, t_o and C class logits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.heads.predictions import Predictions
from yolojax.ops.boxes import cxcywh_to_xyxy

# exp overflows float32 at 88, and the area of such a box at 44. A box of exp(10) = 22026 times its
# prior already overlaps nothing inside the image (IoU < 1e-6 for a prior of one cell in a grid of
# 19), so this bound moves no assignment and no kept detection.
MAX_LOG_SCALE = 10.0


class Slots(NamedTuple):
    """The raw output taken apart, one slot for each cell and anchor."""

    offset: jax.Array  # [B, H, W, A, 2] centre within its cell, (x, y) in 0..1
    log_scale: jax.Array  # [B, H, W, A, 2] log of (w, h) over the anchor's
    objectness: jax.Array  # [B, H, W, A] in 0..1
    logits: jax.Array  # [B, H, W, A, C] class scores before softmax


def split(raw, num_anchors: int) -> Slots:
    """Take `raw` [B, H, W, A * (5 + C)] apart and apply the sigmoids.

    Raises:
        ValueError: the channels of `raw` do not divide into anchors of more than 5 values.
    """
    channels = raw.shape[-1]
    if raw.ndim != 4 or channels % num_anchors or channels // num_anchors <= 5:
        raise ValueError(
            f"raw must be [B, H, W, A * (5 + C)] for A = {num_anchors} anchors and C >= 1 classes, "
            f"got shape {raw.shape}; do the anchors belong to this network?"
        )
    raw = raw.reshape(*raw.shape[:3], num_anchors, channels // num_anchors)
    return Slots(
        offset=jax.nn.sigmoid(raw[..., 0:2]),
        log_scale=raw[..., 2:4],
        objectness=jax.nn.sigmoid(raw[..., 4]),
        logits=raw[..., 5:],
    )


def cell_corners(slots: Slots):
    """Left top corners [H, W, 1, 2] of the cells as (column, row), and the grid's (W, H) [2]."""
    rows, columns = slots.objectness.shape[1:3]
    corners = jnp.stack(jnp.meshgrid(jnp.arange(columns), jnp.arange(rows)), axis=-1)
    return corners[:, :, None, :], jnp.array([columns, rows], slots.offset.dtype)


def slot_boxes(slots: Slots, anchors):
    """Boxes [B, H, W, A, 4] xyxy of the network input; anchors [A, 2] (w, h) in grid cells."""
    corners, grid = cell_corners(slots)
    scale = jnp.exp(jnp.minimum(slots.log_scale, MAX_LOG_SCALE))
    size = scale * jnp.asarray(anchors, grid.dtype) / grid
    return cxcywh_to_xyxy(jnp.concatenate([(slots.offset + corners) / grid, size], axis=-1))


def decode(raw, anchors) -> Predictions:
    """Predictions of a batch.

    Args:
        raw: [B, H, W, A * (5 + C)], the network's output.
        anchors: [A, 2], (w, h) in grid cells (the paper's priors).

    Raises:
        ValueError: `raw` does not fit the number of anchors.
    """
    slots = split(raw, len(anchors))
    batch, *_, classes = slots.logits.shape
    return Predictions(
        boxes=slot_boxes(slots, anchors).reshape(batch, -1, 4),
        objectness=slots.objectness.reshape(batch, -1),
        class_probs=jax.nn.softmax(slots.logits).reshape(batch, -1, classes),
    )
