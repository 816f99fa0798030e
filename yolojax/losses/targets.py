"""Targets and weights of every anchor position, before any term of the region loss is computed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.heads.yolov2 import AnchorOutputs, cell_corners, decode_boxes, offset_target
from yolojax.losses.matcher import Assignment

PRIOR_WEIGHT = 0.01  # region_layer.c: weight of the pull to the priors during the warm-up
IGNORES = ("prediction", "prior", "none")


class Targets(NamedTuple):
    """Weights and targets, [B, H, W, A] each; targets of boxes have a last axis of 4."""

    box: jax.Array  # weight of the box of a responsible position
    box_target: jax.Array  # [B, H, W, A, 4] in the units of `box_values`
    prior: jax.Array  # weight of the pull of a box to its prior
    prior_target: jax.Array  # [A, 4]
    object: jax.Array  # weight of an objectness whose target is object_target
    object_target: jax.Array
    noobject: jax.Array  # weight of an objectness whose target is 0


def box_values(outputs: AnchorOutputs):
    """Return the predicted x, y, log w, log h, [B, H, W, A, 4]."""
    return jnp.concatenate([outputs.offset, outputs.log_scale], axis=-1)


def box_targets(outputs: AnchorOutputs, assignment: Assignment, anchors, location: str):
    """Return the `box_values` [B, H, W, A, 4] that decode to the assigned ground-truth boxes."""
    corners, grid = cell_corners(outputs)
    centre, size = jnp.split(assignment.boxes_cxcywh, 2, axis=-1)
    offset = offset_target(centre * grid - corners, anchors, location)
    return jnp.concatenate([offset, jnp.log(size * grid / anchors)], axis=-1)


def prior_targets(anchors, location: str):
    """Return the `box_values` [A, 4] of the priors: centre of the cell, size of the anchor."""
    middle = offset_target(jnp.full((len(anchors), 2), 0.5), jnp.asarray(anchors), location)
    return jnp.concatenate([middle, jnp.zeros_like(middle)], axis=-1)


def prior_boxes(outputs: AnchorOutputs, anchors):
    """Return the priors as boxes [H, W, A, 4] xyxy of the network input."""
    zero = jnp.zeros_like(outputs.log_scale[:1])
    return decode_boxes(outputs._replace(offset=zero + 0.5, log_scale=zero), anchors)[0]


def small_box_factor(assignment: Assignment):
    """Return 2 - w * h of the assigned boxes, in 1..2 (region_layer.c, since 2018)."""
    return 2 - assignment.boxes_cxcywh[..., 2] * assignment.boxes_cxcywh[..., 3]


def ignored(assignment: Assignment, rule: str, threshold: float):
    """Return which positions [B, H, W, A] have no objectness target of 0.

    These are the responsible ones and, unless the rule is "none", those near a ground-truth box.
    """
    near = False if rule == "none" else assignment.best_iou > threshold
    return assignment.responsible | near


def class_targets(assignment: Assignment, labels, classes: int, activation: str):
    """Return the wanted probabilities [B, H, W, A, C] of the classes at responsible positions.

    With a softmax the last ground-truth box at a position has the only 1. With sigmoids each box
    there sets that of its class: region_layer.c, delta_region_class with `tag`. (The C program
    takes a probability of class 0 that is rounded to its target for a position without boxes.)

    Args:
        assignment: from `matcher.assign`.
        labels: int32 [B, M], of the ground-truth boxes.
        classes: C.
        activation: a key of heads.yolov2.ACTIVATIONS.
    """
    if activation == "softmax":
        return jax.nn.one_hot(assignment.labels, classes)
    position, valid = assignment.candidates
    valid = valid & assignment.gt_mask[..., None]
    wanted = jnp.zeros((len(labels), assignment.labels[0].size, classes))
    image = jnp.arange(len(labels))[:, None, None]
    wanted = wanted.at[image, position, labels[..., None]].max(valid.astype(wanted.dtype))
    return wanted.reshape(*assignment.labels.shape, classes)
