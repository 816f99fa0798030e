"""The loss of YOLOv1 (paper, equation 3; Darknet's detection_layer.c).

It has four terms: coord, object, noobject and class. A cell has at most one ground-truth box and
one set of class scores. One of its predicted boxes is responsible for the ground-truth box.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from yolojax.heads.yolov1 import CellOutputs, cell_corners, class_probs, decode_boxes, split
from yolojax.losses.matcher import cell_of_centre, valid_boxes
from yolojax.losses.terms import (
    LossTerms,
    Square,
    SumOfTerms,
    cross_entropy,
    darknet_cost,
    squared_error,
)
from yolojax.ops.boxes import iou, xyxy_to_cxcywh
from yolojax.suggestions import choose

# Darknet's delta is the derivative of half a square; equation 3 has no factor 1/2.
FACTORS = {"darknet": 1.0, "paper": 2.0}


class CellAssignment(NamedTuple):
    """The ground-truth box of each cell; boxes, labels and iou have no meaning in other cells."""

    has_box: jax.Array  # bool [B, S, S], a ground-truth box is assigned to the cell
    boxes_cxcywh: jax.Array  # [B, S, S, 4] that box, 0..1 of the network input
    labels: jax.Array  # int32 [B, S, S] its class
    iou: jax.Array  # [B, S, S, n] of the predicted boxes with it
    responsible: jax.Array  # bool [B, S, S, n], the predicted box it is assigned to


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
) -> SumOfTerms:
    """Make `loss(raw, batch, seen) -> (scalar, metrics)`; the default weights are the paper's.

    The first valid ground-truth box whose centre is in a cell is assigned to the cell. (Darknet
    shuffles the boxes of an image before.) The predicted box with the largest IoU is responsible
    or, if none overlaps the ground-truth box, the one with the smallest squared distance in
    (x, y, w, h); the first of equals.

    Args:
        side: S, cells in a row.
        boxes: n, boxes per cell.
        square_root: the output is the root of width and height, and roots are compared.
        class_softmax: softmax and cross-entropy of the class scores instead of a squared error.
        coord_weight: weight of the responsible boxes.
        object_weight: weight of the confidence of responsible boxes.
        noobject_weight: weight of the confidence of all others, whose target is 0.
        class_weight: weight of the classes of cells with a ground-truth box.
        rescore: the confidence target is the IoU, a constant; False: 1.
        semantics: "darknet", whose gradient is the C program's delta, negated and divided by B;
            "paper", the sum of equation 3 with twice that gradient.

    `loss` takes raw [B, S * S * (C + 5 * n)]; a batch with boxes [B, M, 4] xyxy, labels [B, M] and
    mask [B, M]; and `seen`, which is not used. The scalar is averaged over B. The metrics are
    scalars:

    * loss, loss_coord, loss_object, loss_noobject, loss_class: averaged over B;
    * darknet_cost: the loss that Darknet prints, sum(delta**2) / B;
    * avg_iou, recall50, recall75, objectness_on: means over responsible boxes, 0 without any;
    * class_prob: of the label, mean over cells with a ground-truth box;
    * objectness_off: mean over all boxes (Darknet's "Any Obj");
    * count: the number of cells with a ground-truth box.

    Raises:
        ValueError: side or boxes is below 1, or semantics is unknown.
    """
    _check(side, boxes, semantics)

    def compute(raw, batch, seen) -> LossTerms:
        cells = split(raw, side, boxes)
        assignment = assign_cells(decode_boxes(cells, square_root), batch)
        label_weight = class_weight * assignment.has_box
        squares = {
            "coord": _coord(cells, assignment, square_root, coord_weight),
            "object": Square(
                cells.confidence,
                assignment.iou if rescore else 1.0,
                object_weight * assignment.responsible,
            ),
            "noobject": Square(cells.confidence, 0.0, noobject_weight * ~assignment.responsible),
            "class": _classes(cells, assignment, class_softmax, label_weight),
        }
        terms = {name: squared_error(*square) for name, square in squares.items()}
        if class_softmax:
            terms["class"] = cross_entropy(cells.logits, assignment.labels, label_weight)
        terms = {name: FACTORS[semantics] * term for name, term in terms.items()}
        metrics = {"darknet_cost": darknet_cost(list(squares.values()))}
        return LossTerms(terms, metrics | _metrics(cells, assignment, class_softmax), assignment)

    return SumOfTerms(compute)


def assign_cells(predicted, batch) -> CellAssignment:
    """Assign ground-truth boxes to cells and predicted boxes, by the rules of `yolov1_loss`.

    No gradient flows through the result.

    Args:
        predicted: [B, S, S, n, 4], xyxy of the network input.
        batch: boxes [B, M, 4] xyxy, labels int32 [B, M], mask bool [B, M] False on padding.
    """
    chex.assert_shape(predicted, (len(batch["mask"]), None, None, None, 4))
    chex.assert_shape(batch["boxes"], (*batch["mask"].shape, 4))
    predicted = jax.lax.stop_gradient(predicted)
    boxes, mask = valid_boxes(batch["boxes"], batch["mask"])
    owner, has_box = _first_box_of_cell(boxes, mask, predicted.shape[1])
    boxes = _of_cells(boxes, owner)
    ious = iou(predicted, boxes[:, :, :, None])
    best = _responsible(ious, xyxy_to_cxcywh(predicted), xyxy_to_cxcywh(boxes))
    chosen = best[..., None] == jnp.arange(predicted.shape[3])
    return CellAssignment(
        has_box=has_box,
        boxes_cxcywh=xyxy_to_cxcywh(boxes),
        labels=_of_cells(batch["labels"][..., None], owner)[..., 0],
        iou=ious,
        responsible=chosen & has_box[..., None],
    )


def _first_box_of_cell(boxes, mask, side: int):
    """Return the index [B, S, S] of the first box with its centre in the cell, and if any has."""
    centres = xyxy_to_cxcywh(boxes)[..., :2]
    column, row = jnp.moveaxis(cell_of_centre(centres, jnp.array([side, side])), -1, 0)
    cells = jnp.arange(side**2).reshape(1, side, side, 1)
    inside = ((row * side + column)[:, None, None] == cells) & mask[:, None, None]
    return jnp.argmax(inside, axis=-1), inside.any(axis=-1)


def _of_cells(values, owner):
    """Take rows `owner` [B, S, S] of values [B, M, k] -> [B, S, S, k]."""
    flat = jnp.take_along_axis(values, owner.reshape(len(owner), -1, 1), axis=1)
    return flat.reshape(*owner.shape, values.shape[-1])


def _responsible(ious, predicted_cxcywh, boxes_cxcywh):
    """Return the index [B, S, S] of the predicted box of each cell that is responsible."""
    distance = jnp.square(predicted_cxcywh - boxes_cxcywh[:, :, :, None]).sum(axis=-1)
    overlaps = (ious > 0).any(axis=-1)
    return jnp.where(overlaps, jnp.argmax(ious, axis=-1), jnp.argmin(distance, axis=-1))


def _coord(
    cells: CellOutputs, assignment: CellAssignment, square_root: bool, weight: float
) -> Square:
    """Return the squared term of x, y, w, h, [B, S, S, n, 4], in the network's units."""
    side = cells.logits.shape[1]
    centre, size = jnp.split(assignment.boxes_cxcywh, 2, axis=-1)
    size = jnp.sqrt(size) if square_root else size
    target = jnp.concatenate([centre * side - cell_corners(side), size], axis=-1)
    return Square(cells.shapes, target[:, :, :, None], weight * assignment.responsible[..., None])


def _classes(cells: CellOutputs, assignment: CellAssignment, class_softmax: bool, weight) -> Square:
    target = jax.nn.one_hot(assignment.labels, cells.logits.shape[-1])
    return Square(class_probs(cells, class_softmax), target, weight[..., None])


def _metrics(cells: CellOutputs, assignment: CellAssignment, class_softmax: bool) -> dict:
    """Compute the metrics of `yolov1_loss` that are means over cells or boxes."""
    count = jnp.sum(assignment.has_box)
    probs = class_probs(cells, class_softmax)
    is_label = jax.nn.one_hot(assignment.labels, probs.shape[-1]) * assignment.has_box[..., None]

    def mean(values, mask):
        return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(count, 1)

    return {
        "avg_iou": mean(assignment.iou, assignment.responsible),
        "recall50": mean(assignment.iou > 0.5, assignment.responsible),
        "recall75": mean(assignment.iou > 0.75, assignment.responsible),
        "objectness_on": mean(cells.confidence, assignment.responsible),
        "objectness_off": jnp.mean(cells.confidence),
        "class_prob": mean(probs, is_label > 0),
        "count": count,
    }


def _check(side: int, boxes: int, semantics: str) -> None:
    for name, value in (("side", side), ("boxes", boxes)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}; the paper has S = 7, B = 2.")
    choose("loss.semantics", semantics, FACTORS)
