"""Metrics of the predictions at the positions of the ground-truth boxes; no part of the loss."""

import jax.numpy as jnp

from yolojax.heads.yolov2 import AnchorOutputs
from yolojax.losses.matcher import Assignment


def detection_metrics(outputs: AnchorOutputs, assignment: Assignment, class_prob) -> dict:
    """Compute avg_iou, recall50, recall75, objectness_on, objectness_off, class_prob and count.

    All but objectness_off and count are means over the ground-truth boxes, each at its main
    position; 0 without any. class_prob is [B, M].
    """
    objectness = outputs.objectness.reshape(len(outputs.objectness), -1)
    count = jnp.sum(assignment.gt_mask)

    def mean(values):
        return jnp.sum(jnp.where(assignment.gt_mask, values, 0)) / jnp.maximum(count, 1)

    return {
        "avg_iou": mean(assignment.gt_iou),
        "recall50": mean(assignment.gt_iou > 0.5),
        "recall75": mean(assignment.gt_iou > 0.75),
        "objectness_on": mean(jnp.take_along_axis(objectness, assignment.gt_position, axis=1)),
        "objectness_off": jnp.mean(objectness),
        "class_prob": mean(class_prob),
        "count": count,
    }
