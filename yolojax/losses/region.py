"""The loss of YOLOv2 (Darknet's region_layer.c; the YOLO9000 paper gives no formula).

Four terms over all slots (a slot is one anchor of one cell): coord, object, noobject and class.
Their gradient with respect to `raw` is Darknet's delta, negated and divided by the batch size.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from yolojax.heads.yolov2 import Slots, cell_corners, slot_boxes, split
from yolojax.losses.assign import Assignment, assign
from yolojax.losses.terms import cross_entropy, reduce_terms, squared_error

PRIOR_WEIGHT = 0.01  # region_layer.c: the pull of a box to its prior during the warm-up
PRIOR_TARGET = (0.5, 0.5, 0.0, 0.0)  # the middle of the cell, the anchor's size


class Square(NamedTuple):
    """A squared term before it is computed; Darknet's delta is weight * (target - value)."""

    value: jax.Array
    target: jax.Array | float
    weight: jax.Array


def region_loss(
    *,
    anchors,
    coord_weight: float = 1.0,
    object_weight: float = 5.0,
    noobject_weight: float = 1.0,
    class_weight: float = 1.0,
    ignore_threshold: float = 0.6,
    warmup_images: int = 12800,
    rescore: bool = True,
    bias_match: bool = True,
    small_box_weight: bool = True,
):
    """Make `loss(raw, batch, seen) -> (scalar, metrics)`; the defaults are yolov2-voc.cfg's.

    Args:
        anchors: [A, 2], (w, h) in grid cells.
        coord_weight: of the boxes of responsible slots.
        object_weight: of the objectness of responsible slots.
        noobject_weight: of the objectness of the others, which is drawn to 0.
        class_weight: of the classes of responsible slots.
        ignore_threshold: a box with a larger IoU with any truth keeps its objectness.
        warmup_images: until so many were seen, boxes without a truth are drawn to their priors.
        rescore: the objectness target is the IoU of box and truth; False = 1.
        bias_match: choose the anchor by its own shape; False = by the shape it predicts.
        small_box_weight: weigh boxes by (2 - w * h); Darknet since 2018, not in the paper.

    `loss` takes raw [B, H, W, A * (5 + C)]; a batch with boxes [B, M, 4] xyxy, labels [B, M] and
    mask [B, M]; and `seen`, the number of images trained on *including* this batch. The scalar is
    averaged over B. The metrics are scalars:

    * loss, loss_coord, loss_object, loss_noobject, loss_class: averaged over B;
    * darknet_cost: what Darknet prints as loss, sum(delta**2), averaged over B;
    * avg_iou, recall50, recall75, objectness_on, class_prob: averaged over truths, 0 without any;
    * objectness_off: averaged over all slots (Darknet's "No Obj");
    * count: the number of truths.

    Raises:
        ValueError: the anchors are not positive pairs.
    """
    anchors = np.asarray(anchors, np.float32)
    if anchors.ndim != 2 or anchors.shape[1] != 2 or not (anchors > 0).all():
        raise ValueError(
            "anchors must be pairs (w, h) of grid cells, both > 0, "
            f"got {anchors.tolist()}; `yolojax anchors` computes them from a data set."
        )

    def loss(raw, batch, seen):
        slots = split(raw, len(anchors))
        predicted = slot_boxes(slots, anchors)
        found = assign(predicted, anchors, batch, bias_match=bias_match)

        box_weight = coord_weight * (_small_box_factor(found) if small_box_weight else 1.0)
        prior_weight = jnp.where(seen < warmup_images, PRIOR_WEIGHT, 0.0)
        ignored = found.responsible | (found.best_iou > ignore_threshold)
        label_weight = class_weight * found.responsible
        squares = {
            "coord": _coord(slots, found, anchors, box_weight, prior_weight),
            "object": Square(
                slots.objectness,
                found.iou if rescore else 1.0,
                object_weight * found.responsible,
            ),
            "noobject": Square(slots.objectness, 0.0, noobject_weight * ~ignored),
        }
        terms = {name: squared_error(*square) for name, square in squares.items()}
        terms["coord"] = terms["coord"].sum(axis=-1)  # so that every term is [B, H, W, A]
        terms["class"] = cross_entropy(slots.logits, found.labels, label_weight)
        total, means = reduce_terms(terms)

        metrics = {"loss": total} | {f"loss_{name}": mean for name, mean in means.items()}
        metrics["darknet_cost"] = _darknet_cost(squares, slots, found, label_weight)
        metrics |= _quality(slots, found, batch["labels"])
        return total, jax.lax.stop_gradient(metrics)

    return loss


def _small_box_factor(found: Assignment):
    return 2 - found.boxes_cxcywh[..., 2] * found.boxes_cxcywh[..., 3]


def _coord(slots: Slots, found: Assignment, anchors, box_weight, prior_weight) -> Square:
    """The squared term of x, y, w, h, [B, H, W, A, 4], in the units the network predicts."""
    corners, grid = cell_corners(slots)
    centre, size = jnp.split(found.boxes_cxcywh, 2, axis=-1)
    target = jnp.concatenate([centre * grid - corners, jnp.log(size * grid / anchors)], axis=-1)
    on = found.responsible[..., None]
    return Square(
        value=jnp.concatenate([slots.offset, slots.log_scale], axis=-1),
        target=jnp.where(on, target, jnp.array(PRIOR_TARGET, target.dtype)),
        weight=jnp.where(on, jnp.expand_dims(box_weight, -1), prior_weight),
    )


def _darknet_cost(squares: dict[str, Square], slots: Slots, found: Assignment, label_weight):
    """sum(delta**2) over B, the deltas taken before they pass the sigmoids."""
    wanted = jax.nn.one_hot(found.labels, slots.logits.shape[-1])
    classes = Square(jax.nn.softmax(slots.logits), wanted, label_weight[..., None])
    total = sum(
        jnp.sum((square.weight * (square.target - square.value)) ** 2)
        for square in [*squares.values(), classes]
    )
    return total / len(slots.objectness)


def _quality(slots: Slots, found: Assignment, labels):
    """How well the slots that truths fell on do, averaged over truths."""
    batch, *_, classes = slots.logits.shape
    objectness = slots.objectness.reshape(batch, -1)
    logits = slots.logits.reshape(batch, -1, classes)
    at_truth = jnp.take_along_axis(logits, found.truth_slot[..., None], axis=1)  # [B, M, C]
    class_prob = jnp.sum(jax.nn.softmax(at_truth) * jax.nn.one_hot(labels, classes), axis=-1)
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
