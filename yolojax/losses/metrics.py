"""How well the slots that truths fell on do: metrics, no part of the loss."""

import jax.numpy as jnp

from yolojax.heads.yolov2 import Slots
from yolojax.losses.assign import Assignment


def slot_quality(slots: Slots, found: Assignment, class_prob) -> dict:
    """avg_iou, recall50, recall75, objectness_on, class_prob, objectness_off and count.

    All but the last two are averaged over the truths, each at its own slot; 0 without any.
    class_prob is [B, M].
    """
    objectness = slots.objectness.reshape(len(slots.objectness), -1)
    count = jnp.sum(found.truth_mask)

    def mean(values):
        return jnp.sum(jnp.where(found.truth_mask, values, 0)) / jnp.maximum(count, 1)

    return {
        "avg_iou": mean(found.truth_iou),
        "recall50": mean(found.truth_iou > 0.5),
        "recall75": mean(found.truth_iou > 0.75),
        "objectness_on": mean(jnp.take_along_axis(objectness, found.truth_slot, axis=1)),
        "objectness_off": jnp.mean(objectness),
        "class_prob": mean(class_prob),
        "count": count,
    }
