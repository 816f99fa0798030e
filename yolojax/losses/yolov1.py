"""The loss of YOLOv1 (paper, equation 3; Darknet's detection_layer.c).

Four terms: coord, object, noobject and class. A cell has one truth and one set of class scores,
and of its boxes one is responsible for that truth.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.heads.yolov1 import Cells, cell_boxes, cell_corners, class_probs, split
from yolojax.losses.assign import real_truths
from yolojax.losses.candidates import cell_of_centre
from yolojax.losses.terms import (
    Square,
    cross_entropy,
    darknet_cost,
    keep,
    reduce_terms,
    squared_error,
)
from yolojax.ops.boxes import iou, xyxy_to_cxcywh
from yolojax.suggestions import choose

# Equation 3 has no 1/2 in front of its squares; Darknet's delta is that of one that has.
FACTORS = {"darknet": 1.0, "paper": 2.0}


class Assignment(NamedTuple):
    """Targets of every cell; where a cell has no truth, its box, label and iou mean nothing."""

    has_truth: jax.Array  # bool [B, S, S]
    boxes_cxcywh: jax.Array  # [B, S, S, 4] that truth, 0..1 of the network input
    labels: jax.Array  # int32 [B, S, S] its class
    iou: jax.Array  # [B, S, S, n] of the predicted boxes with it
    responsible: jax.Array  # bool [B, S, S, n], the box that answers for it


def yolov1_loss(
    *,
    side: int,
    boxes: int,
    square_root: bool = True,
    class_softmax: bool = False,
    coord_weight: float = 5.0,
    object_weight: float = 1.0,
    noobject_weight: float = 0.5,
    class_weight: float = 1.0,
    rescore: bool = True,
    semantics: str = "darknet",
):
    """Make `loss(raw, batch, seen) -> (scalar, metrics)`; the default weights are the paper's.

    A cell answers for one truth: of those that count, the first in the batch's order whose centre
    lies in it. (Darknet shuffles the truths of an image first.) Of its boxes the one with the
    largest IoU is responsible or, where none overlaps the truth, the one with the least squared
    distance in (x, y, w, h); the first of equals.

    Args:
        side: S, cells in a row.
        boxes: n, boxes per cell.
        square_root: the output is the root of width and height, and their roots are compared.
        class_softmax: class scores pass a softmax and a cross-entropy, not a squared error.
        coord_weight: of the responsible boxes.
        object_weight: of the confidence of responsible boxes.
        noobject_weight: of the confidence of all others, which is drawn to 0.
        class_weight: of the classes of cells with a truth.
        rescore: the confidence target is the IoU, a constant; False = 1.
        semantics: "darknet", whose gradient is the C program's delta, negated and divided by B;
            "paper", the sum of equation 3 with twice that gradient.

    `loss` takes raw [B, S * S * (C + 5 * n)]; a batch with boxes [B, M, 4] xyxy, labels [B, M] and
    mask [B, M]; and `seen`, which it has no use for. The scalar is averaged over B. The metrics
    are scalars:

    * loss, loss_coord, loss_object, loss_noobject, loss_class: averaged over B;
    * darknet_cost: what Darknet prints as loss, sum(delta**2), averaged over B;
    * avg_iou, recall50, recall75, objectness_on: of responsible boxes, averaged, 0 without any;
    * class_prob: of the right class, averaged over cells with a truth;
    * objectness_off: averaged over all boxes (Darknet's "Any Obj");
    * count: the number of cells with a truth.

    Raises:
        ValueError: side or boxes is below 1, or semantics is unknown.
    """
    _check(side, boxes, semantics)

    def loss(raw, batch, seen):
        cells = split(raw, side, boxes)
        found = assign_cells(cell_boxes(cells, square_root), batch)
        keep("found", found)
        label_weight = class_weight * found.has_truth
        squares = {
            "coord": _coord(cells, found, square_root, coord_weight),
            "object": Square(
                cells.confidence,
                found.iou if rescore else 1.0,
                object_weight * found.responsible,
            ),
            "noobject": Square(cells.confidence, 0.0, noobject_weight * ~found.responsible),
            "class": _classes(cells, found, class_softmax, label_weight),
        }
        terms = {name: squared_error(*square) for name, square in squares.items()}
        if class_softmax:
            terms["class"] = cross_entropy(cells.logits, found.labels, label_weight)
        total, means = reduce_terms({k: FACTORS[semantics] * term for k, term in terms.items()})

        metrics = {"loss": total} | {f"loss_{name}": mean for name, mean in means.items()}
        metrics["darknet_cost"] = darknet_cost(list(squares.values()))
        metrics |= _quality(cells, found, class_softmax)
        return total, jax.lax.stop_gradient(metrics)

    return loss


def assign_cells(predicted, batch) -> Assignment:
    """Give each cell its truth and choose the responsible box, by the rules of `yolov1_loss`.

    No gradient flows through the result.

    Args:
        predicted: [B, S, S, n, 4], xyxy of the network input.
        batch: boxes [B, M, 4] xyxy, labels int32 [B, M], mask bool [B, M] True on real truths.
    """
    predicted = jax.lax.stop_gradient(predicted)
    boxes, mask = real_truths(batch["boxes"], batch["mask"])
    owner, has_truth = _first_truth_of_cell(boxes, mask, predicted.shape[1])
    boxes = _of_cells(boxes, owner)
    ious = iou(predicted, boxes[:, :, :, None])
    best = _responsible(ious, xyxy_to_cxcywh(predicted), xyxy_to_cxcywh(boxes))
    chosen = best[..., None] == jnp.arange(predicted.shape[3])
    return Assignment(
        has_truth=has_truth,
        boxes_cxcywh=xyxy_to_cxcywh(boxes),
        labels=_of_cells(batch["labels"][..., None], owner)[..., 0],
        iou=ious,
        responsible=chosen & has_truth[..., None],
    )


def _first_truth_of_cell(boxes, mask, side: int):
    """Index [B, S, S] of the first truth whose centre is in the cell, and whether there is one."""
    centres = xyxy_to_cxcywh(boxes)[..., :2]
    column, row = jnp.moveaxis(cell_of_centre(centres, jnp.array([side, side])), -1, 0)
    cells = jnp.arange(side**2).reshape(1, side, side, 1)
    inside = ((row * side + column)[:, None, None] == cells) & mask[:, None, None]
    return jnp.argmax(inside, axis=-1), inside.any(axis=-1)


def _of_cells(values, owner):
    """Rows `owner` [B, S, S] of values [B, M, k] -> [B, S, S, k]."""
    flat = jnp.take_along_axis(values, owner.reshape(len(owner), -1, 1), axis=1)
    return flat.reshape(*owner.shape, values.shape[-1])


def _responsible(ious, predicted_cxcywh, boxes_cxcywh):
    """Index [B, S, S] of the box of each cell that answers for a truth of that cell."""
    distance = jnp.square(predicted_cxcywh - boxes_cxcywh[:, :, :, None]).sum(axis=-1)
    overlaps = (ious > 0).any(axis=-1)
    return jnp.where(overlaps, jnp.argmax(ious, axis=-1), jnp.argmin(distance, axis=-1))


def _coord(cells: Cells, found: Assignment, square_root: bool, weight: float) -> Square:
    """The squared term of x, y, w, h, [B, S, S, n, 4], in the units the network predicts."""
    side = cells.logits.shape[1]
    centre, size = jnp.split(found.boxes_cxcywh, 2, axis=-1)
    size = jnp.sqrt(size) if square_root else size
    target = jnp.concatenate([centre * side - cell_corners(side), size], axis=-1)
    return Square(cells.shapes, target[:, :, :, None], weight * found.responsible[..., None])


def _classes(cells: Cells, found: Assignment, class_softmax: bool, weight) -> Square:
    wanted = jax.nn.one_hot(found.labels, cells.logits.shape[-1])
    return Square(class_probs(cells, class_softmax), wanted, weight[..., None])


def _quality(cells: Cells, found: Assignment, class_softmax: bool):
    """How well the cells that truths fell on do, averaged over them."""
    count = jnp.sum(found.has_truth)
    probs = class_probs(cells, class_softmax)
    wanted = jax.nn.one_hot(found.labels, probs.shape[-1]) * found.has_truth[..., None]

    def mean(values, mask):
        return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(count, 1)

    return {
        "avg_iou": mean(found.iou, found.responsible),
        "recall50": mean(found.iou > 0.5, found.responsible),
        "recall75": mean(found.iou > 0.75, found.responsible),
        "objectness_on": mean(cells.confidence, found.responsible),
        "objectness_off": jnp.mean(cells.confidence),
        "class_prob": mean(probs, wanted > 0),
        "count": count,
    }


def _check(side: int, boxes: int, semantics: str) -> None:
    for name, value in (("side", side), ("boxes", boxes)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}; the paper has S = 7, B = 2.")
    choose("loss.semantics", semantics, FACTORS)
