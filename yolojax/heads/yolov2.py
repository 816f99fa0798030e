"""What the raw output of YOLOv2 means (YOLO9000 paper, section 2; Darknet's region_layer.c).

The channels of a cell are, for each anchor in turn, t_x, t_y, t_w, t_h, t_o and C class logits.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.heads.predictions import Predictions
from yolojax.ops.boxes import cxcywh_to_xyxy
from yolojax.suggestions import choose

# exp overflows float32 at 88, and the area of such a box at 44. A box of exp(10) = 22026 times its
# prior already overlaps nothing inside the image (IoU < 1e-6 for a prior of one cell in a grid of
# 19), so this bound moves no assignment and no kept detection.
MAX_LOG_SCALE = 10.0
# The same for unbounded centres, in anchors: so far away a box overlaps nothing inside the image,
# and float32 still tells its left edge from its right one.
MAX_OFFSET = 1000.0


class Slots(NamedTuple):
    """The raw output taken apart, one slot for each cell and anchor."""

    offset: jax.Array  # [B, H, W, A, 2] where the centre is, (x, y); see the model's location
    log_scale: jax.Array  # [B, H, W, A, 2] log of (w, h) over the anchor's
    objectness: jax.Array  # [B, H, W, A] in 0..1
    objectness_logit: jax.Array  # [B, H, W, A] before the sigmoid
    logits: jax.Array  # [B, H, W, A, C] class scores before softmax or sigmoid


class Location(NamedTuple):
    """How a box gets its centre."""

    offset: Callable  # raw (t_x, t_y) -> Slots.offset
    inside: Callable  # (offset, anchors [A, 2]) -> centre minus its cell's corner, in cells
    target: Callable  # (centre minus corner, anchors [A, 2]) -> offset: the inverse of `inside`


LOCATIONS = {
    # "Direct location prediction" (paper, section 2): the centre stays in its cell.
    "sigmoid": Location(
        offset=jax.nn.sigmoid,
        inside=lambda offset, anchors: offset,
        target=lambda inside, anchors: inside,
    ),
    # What the paper had before: x = t_x * w_a + x_a, with the anchor in the middle of the cell. The
    # paper prints a minus; equation 2 of Faster R-CNN, which it quotes, has the plus.
    "anchor": Location(
        offset=lambda raw: raw,
        inside=lambda offset, anchors: 0.5 + jnp.clip(offset, -MAX_OFFSET, MAX_OFFSET) * anchors,
        target=lambda inside, anchors: (inside - 0.5) / anchors,
    ),
}
ACTIVATIONS = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid}  # of classes


def split(raw, num_anchors: int, location: str = "sigmoid") -> Slots:
    """Take `raw` [B, H, W, A * (5 + C)] apart and apply the sigmoids.

    Args:
        raw: the network's output.
        num_anchors: A.
        location: a key of LOCATIONS; the offset is sigmoid(t_x), sigmoid(t_y) of "sigmoid", the
            bare t_x, t_y of "anchor".

    Raises:
        ValueError: the channels of `raw` do not divide into anchors of more than 5 values; the
            location is unknown.
    """
    channels = raw.shape[-1]
    if raw.ndim != 4 or channels % num_anchors or channels // num_anchors <= 5:
        raise ValueError(
            f"raw must be [B, H, W, A * (5 + C)] for A = {num_anchors} anchors and C >= 1 classes, "
            f"got shape {raw.shape}; do the anchors belong to this network?"
        )
    raw = raw.reshape(*raw.shape[:3], num_anchors, channels // num_anchors)
    return Slots(
        offset=choose("model.location", location, LOCATIONS).offset(raw[..., 0:2]),
        log_scale=raw[..., 2:4],
        objectness=jax.nn.sigmoid(raw[..., 4]),
        objectness_logit=raw[..., 4],
        logits=raw[..., 5:],
    )


def cell_corners(slots: Slots):
    """Left top corners [H, W, 1, 2] of the cells as (column, row), and the grid's (W, H) [2]."""
    rows, columns = slots.objectness.shape[1:3]
    corners = jnp.stack(jnp.meshgrid(jnp.arange(columns), jnp.arange(rows)), axis=-1)
    return corners[:, :, None, :], jnp.array([columns, rows], slots.offset.dtype)


def slot_boxes(slots: Slots, anchors, location: str = "sigmoid"):
    """Boxes [B, H, W, A, 4] xyxy of the network input; anchors [A, 2] (w, h) in grid cells.

    Their centre, in cells from the corner of the cell, is the offset of location "sigmoid" and
    0.5 + offset * anchor of "anchor", where it may be outside of the cell and of the image.

    Raises:
        ValueError: the location is unknown.
    """
    corners, grid = cell_corners(slots)
    anchors = jnp.asarray(anchors, grid.dtype)
    inside = choose("model.location", location, LOCATIONS).inside(slots.offset, anchors)
    size = jnp.exp(jnp.minimum(slots.log_scale, MAX_LOG_SCALE)) * anchors / grid
    return cxcywh_to_xyxy(jnp.concatenate([(inside + corners) / grid, size], axis=-1))


def offset_target(inside, anchors, location: str = "sigmoid"):
    """The offset that `slot_boxes` makes the centre `inside` of; both are [..., A, 2].

    `inside` is the centre minus the corner of its cell, and anchors [A, 2] are (w, h), in cells.

    Raises:
        ValueError: the location is unknown.
    """
    return choose("model.location", location, LOCATIONS).target(inside, anchors)


def class_probs(logits, activation: str = "softmax"):
    """Probabilities [..., C] of class logits [..., C]: a softmax, or the sigmoid of each by itself.

    Raises:
        ValueError: the activation is unknown.
    """
    return choose("model.class_activation", activation, ACTIVATIONS)(logits)


def decode(
    raw, anchors, *, location: str = "sigmoid", class_activation: str = "softmax"
) -> Predictions:
    """Predictions of a batch.

    Args:
        raw: [B, H, W, A * (5 + C)], the network's output.
        anchors: [A, 2], (w, h) in grid cells (the paper's priors).
        location: a key of LOCATIONS, as in `slot_boxes`.
        class_activation: a key of ACTIVATIONS; with "sigmoid" a box may be of several classes, as
            in region_layer.c without softmax.

    Raises:
        ValueError: `raw` does not fit the number of anchors; the location or the activation is
            unknown.
    """
    slots = split(raw, len(anchors), location)
    batch, *_, classes = slots.logits.shape
    return Predictions(
        boxes=slot_boxes(slots, anchors, location).reshape(batch, -1, 4),
        objectness=slots.objectness.reshape(batch, -1),
        class_probs=class_probs(slots.logits, class_activation).reshape(batch, -1, classes),
    )
