"""What every slot is to learn, and how much: weights and targets before any term is computed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.heads.yolov2 import Slots, cell_corners, offset_target, slot_boxes
from yolojax.losses.assign import Assignment

PRIOR_WEIGHT = 0.01  # region_layer.c: the pull of a box to its prior during the warm-up
IGNORES = ("prediction", "prior", "none")


class Aims(NamedTuple):
    """All are [B, H, W, A], but for the boxes with 4 numbers more."""

    box: jax.Array  # weight of the box of a slot that answers for a truth
    box_target: jax.Array  # [..., 4] in the units the network predicts
    prior: jax.Array  # weight of the pull to the prior
    prior_target: jax.Array  # [A, 4]
    object: jax.Array  # weight of an objectness that is to be object_target
    object_target: jax.Array
    noobject: jax.Array  # weight of an objectness that is to be 0


def box_values(slots: Slots):
    """What the network predicts of boxes, [B, H, W, A, 4]: x, y, log w, log h."""
    return jnp.concatenate([slots.offset, slots.log_scale], axis=-1)


def box_targets(slots: Slots, found: Assignment, anchors, location: str):
    """The `box_values` that would be the truth of each slot, [B, H, W, A, 4]."""
    corners, grid = cell_corners(slots)
    centre, size = jnp.split(found.boxes_cxcywh, 2, axis=-1)
    offset = offset_target(centre * grid - corners, anchors, location)
    return jnp.concatenate([offset, jnp.log(size * grid / anchors)], axis=-1)


def prior_targets(anchors, location: str):
    """The `box_values` [A, 4] of the priors: the middle of the cell, the anchor's size."""
    middle = offset_target(jnp.full((len(anchors), 2), 0.5), jnp.asarray(anchors), location)
    return jnp.concatenate([middle, jnp.zeros_like(middle)], axis=-1)


def prior_boxes(slots: Slots, anchors):
    """The priors as boxes [H, W, A, 4] xyxy of the network input."""
    still = jnp.zeros_like(slots.log_scale[:1])
    return slot_boxes(slots._replace(offset=still + 0.5, log_scale=still), anchors)[0]


def small_box_factor(found: Assignment):
    """2 - w * h of the truth, in 1..2 (region_layer.c, since 2018)."""
    return 2 - found.boxes_cxcywh[..., 2] * found.boxes_cxcywh[..., 3]


def ignored(found: Assignment, rule: str, threshold: float):
    """Which slots [B, H, W, A] learn no objectness of 0: those of truths, and near ones."""
    near = False if rule == "none" else found.best_iou > threshold
    return found.responsible | near
