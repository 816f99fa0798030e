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
from yolojax.losses.terms import Square, cross_entropy, darknet_cost, reduce_terms, squared_error

PRIOR_WEIGHT = 0.01  # region_layer.c: the pull of a box to its prior during the warm-up
PRIOR_TARGET = (0.5, 0.5, 0.0, 0.0)  # the middle of the cell, the anchor's size


class ClassTerm(NamedTuple):
    """What the classes add to the loss."""

    cost: jax.Array  # [B, ...], the term
    darknet_cost: jax.Array  # sum(delta**2), averaged over B
    class_prob: jax.Array  # [B, M], of each truth's class at its slot


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
    terms = region_terms(
        anchors=anchors,
        coord_weight=coord_weight,
        object_weight=object_weight,
        noobject_weight=noobject_weight,
        ignore_threshold=ignore_threshold,
        warmup_images=warmup_images,
        rescore=rescore,
        bias_match=bias_match,
        small_box_weight=small_box_weight,
    )

    def loss(raw, batch, seen):
        slots, found, squares = terms(raw, batch, seen)
        return total(slots, found, squares, softmax_classes(slots, found, batch, class_weight))

    return loss


def region_terms(
    *,
    anchors,
    coord_weight: float,
    object_weight: float,
    noobject_weight: float,
    ignore_threshold: float,
    warmup_images: int,
    rescore: bool,
    bias_match: bool,
    small_box_weight: bool,
):
    """Make `terms(raw, batch, seen) -> (Slots, Assignment, {name: Square})`, all but the classes.

    The squares are coord [B, H, W, A, 4], object and noobject [B, H, W, A]; the arguments are those
    of `region_loss`.

    Raises:
        ValueError: the anchors are not positive pairs.
    """
    anchors = np.asarray(anchors, np.float32)
    if anchors.ndim != 2 or anchors.shape[1] != 2 or not (anchors > 0).all():
        raise ValueError(
            "anchors must be pairs (w, h) of grid cells, both > 0, "
            f"got {anchors.tolist()}; `yolojax anchors` computes them from a data set."
        )

    def terms(raw, batch, seen):
        slots = split(raw, len(anchors))
        predicted = slot_boxes(slots, anchors)
        found = assign(predicted, anchors, batch, bias_match=bias_match)
        box_weight = coord_weight * (_small_box_factor(found) if small_box_weight else 1.0)
        prior_weight = jnp.where(seen < warmup_images, PRIOR_WEIGHT, 0.0)
        ignored = found.responsible | (found.best_iou > ignore_threshold)
        squares = {
            "coord": _coord(slots, found, anchors, box_weight, prior_weight),
            "object": Square(
                slots.objectness,
                found.iou if rescore else 1.0,
                object_weight * found.responsible,
            ),
            "noobject": Square(slots.objectness, 0.0, noobject_weight * ~ignored),
        }
        return slots, found, squares

    return terms


def softmax_classes(slots: Slots, found: Assignment, batch, class_weight: float) -> ClassTerm:
    """One softmax over all classes."""
    weight = class_weight * found.responsible
    wanted = jax.nn.one_hot(found.labels, slots.logits.shape[-1])
    delta = Square(jax.nn.softmax(slots.logits), wanted, weight[..., None])
    return ClassTerm(
        cost=cross_entropy(slots.logits, found.labels, weight),
        darknet_cost=darknet_cost([delta]),
        class_prob=_class_prob(slots, found, batch["labels"]),
    )


def total(slots: Slots, found: Assignment, squares: dict[str, Square], classes: ClassTerm):
    """The scalar and the metrics that `region_loss` describes."""
    terms = {name: squared_error(*square) for name, square in squares.items()}
    terms["class"] = classes.cost
    scalar, means = reduce_terms(terms)
    metrics = {"loss": scalar} | {f"loss_{name}": mean for name, mean in means.items()}
    metrics["darknet_cost"] = darknet_cost([*squares.values()]) + classes.darknet_cost
    metrics |= _quality(slots, found, classes.class_prob)
    return scalar, jax.lax.stop_gradient(metrics)


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


def _class_prob(slots: Slots, found: Assignment, labels):
    """The probability [B, M] of each truth's class at its slot."""
    batch, *_, classes = slots.logits.shape
    logits = slots.logits.reshape(batch, -1, classes)
    at_truth = jnp.take_along_axis(logits, found.truth_slot[..., None], axis=1)  # [B, M, C]
    return jnp.sum(jax.nn.softmax(at_truth) * jax.nn.one_hot(labels, classes), axis=-1)


def _quality(slots: Slots, found: Assignment, class_prob):
    """How well the slots that truths fell on do, averaged over truths."""
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
