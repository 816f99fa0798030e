"""Decode the raw output of YOLOv2 (YOLO9000 paper, section 2; Darknet's region_layer.c).

The channels of a cell are, for each anchor in turn, t_x, t_y, t_w, t_h, t_o and C class logits.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from yolojax.heads.predictions import Predictions
from yolojax.ops.boxes import cxcywh_to_xyxy
from yolojax.suggestions import choose

# exp overflows float32 at 88, and the area of such a box at 44. A box of exp(10) = 22026 times its
# prior already overlaps nothing inside the image (IoU < 1e-6 for a prior of one cell in a grid of
# 19), so this bound changes no assignment and no detection.
MAX_LOG_SCALE = 10.0
# The same bound for centres, in anchors: a box this far away overlaps nothing inside the image, and
# its left and right edge still differ in float32.
MAX_OFFSET = 1000.0


class AnchorOutputs(NamedTuple):
    """The parts of the raw output at each anchor position, one anchor of one cell."""

    offset: jax.Array  # [B, H, W, A, 2] (x, y) of the centre, in the units of the model's location
    log_scale: jax.Array  # [B, H, W, A, 2] log of (w, h) over the anchor's
    objectness: jax.Array  # [B, H, W, A] in 0..1
    objectness_logit: jax.Array  # [B, H, W, A] before the sigmoid
    logits: jax.Array  # [B, H, W, A, C] class scores before softmax or sigmoid


class Location(NamedTuple):
    """How the raw output encodes the centre of a box."""

    offset: Callable  # raw (t_x, t_y) -> AnchorOutputs.offset
    inside: Callable  # (offset, anchors [A, 2]) -> centre minus its cell's corner, in cells
    target: Callable  # (centre minus corner, anchors [A, 2]) -> offset: the inverse of `inside`


LOCATIONS = {
    # "Direct location prediction" (paper, section 2): the centre cannot leave its cell.
    "sigmoid": Location(
        offset=jax.nn.sigmoid,
        inside=lambda offset, anchors: offset,
        target=lambda inside, anchors: inside,
    ),
    # The paper's baseline: x = t_x * w_a + x_a, with the anchor at the centre of the cell. The
    # paper prints a minus; equation 2 of Faster R-CNN, which it quotes, has a plus.
    "anchor": Location(
        offset=lambda raw: raw,
        inside=lambda offset, anchors: 0.5 + jnp.clip(offset, -MAX_OFFSET, MAX_OFFSET) * anchors,
        target=lambda inside, anchors: (inside - 0.5) / anchors,
    ),
}
ACTIVATIONS = {"softmax": jax.nn.softmax, "sigmoid": jax.nn.sigmoid}  # of classes


def split(raw, num_anchors: int, location: str = "sigmoid") -> AnchorOutputs:
    """Split `raw` [B, H, W, A * (5 + C)] into its parts and apply the sigmoids.

    Args:
        raw: the network's output.
        num_anchors: A.
        location: a key of LOCATIONS; with "sigmoid" the offset is sigmoid(t_x), sigmoid(t_y), with
            "anchor" t_x, t_y.

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
    return AnchorOutputs(
        offset=choose("model.location", location, LOCATIONS).offset(raw[..., 0:2]),
        log_scale=raw[..., 2:4],
        objectness=jax.nn.sigmoid(raw[..., 4]),
        objectness_logit=raw[..., 4],
        logits=raw[..., 5:],
    )


def cell_corners(outputs: AnchorOutputs):
    """Return the left top corners [H, W, 1, 2] of the cells as (column, row), and (W, H) [2]."""
    rows, columns = outputs.objectness.shape[1:3]
    corners = jnp.stack(jnp.meshgrid(jnp.arange(columns), jnp.arange(rows)), axis=-1)
    return corners[:, :, None, :], jnp.array([columns, rows], outputs.offset.dtype)


def decode_boxes(outputs: AnchorOutputs, anchors, location: str = "sigmoid"):
    """Return boxes [B, H, W, A, 4] xyxy of the network input; anchors [A, 2] (w, h) in grid cells.

    The centre, in cells from the corner of the cell, is the offset with location "sigmoid". With
    "anchor" it is 0.5 + offset * anchor, which may be outside of the cell and of the image.

    Raises:
        ValueError: the location is unknown.
    """
    corners, grid = cell_corners(outputs)
    anchors = jnp.asarray(anchors, grid.dtype)
    chex.assert_shape(anchors, (outputs.offset.shape[3], 2))
    inside = choose("model.location", location, LOCATIONS).inside(outputs.offset, anchors)
    size = jnp.exp(jnp.minimum(outputs.log_scale, MAX_LOG_SCALE)) * anchors / grid
    return cxcywh_to_xyxy(jnp.concatenate([(inside + corners) / grid, size], axis=-1))


def offset_target(inside, anchors, location: str = "sigmoid"):
    """Invert the centre of `decode_boxes`: centre `inside` its cell -> offset, [..., A, 2] both.

    `inside` is the centre minus the corner of its cell; anchors [A, 2] are (w, h). Both in cells.

    Raises:
        ValueError: the location is unknown.
    """
    return choose("model.location", location, LOCATIONS).target(inside, anchors)


def class_probs(logits, activation: str = "softmax"):
    """Return probabilities [..., C] of class logits [..., C]: a softmax, or independent sigmoids.

    Raises:
        ValueError: the activation is unknown.
    """
    return choose("model.class_activation", activation, ACTIVATIONS)(logits)


def decode(
    raw, anchors, *, location: str = "sigmoid", class_activation: str = "softmax"
) -> Predictions:
    """Decode a batch.

    Args:
        raw: [B, H, W, A * (5 + C)], the network's output.
        anchors: [A, 2], (w, h) in grid cells (the paper's priors).
        location: a key of LOCATIONS, as in `decode_boxes`.
        class_activation: a key of ACTIVATIONS; with "sigmoid" a box may have several classes, as in
            region_layer.c without softmax.

    Raises:
        ValueError: `raw` does not fit the number of anchors; the location or the activation is
            unknown.
    """
    outputs = split(raw, len(anchors), location)
    batch, *_, classes = outputs.logits.shape
    return Predictions(
        boxes=decode_boxes(outputs, anchors, location).reshape(batch, -1, 4),
        objectness=outputs.objectness.reshape(batch, -1),
        class_probs=class_probs(outputs.logits, class_activation).reshape(batch, -1, classes),
    )
