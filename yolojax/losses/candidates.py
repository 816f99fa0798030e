"""Which slots of the grid could answer for a truth: the rules that `assign` chooses among.

Each takes the truths of an image [M, 4] cxcywh in 0..1 of the network input, the predicted boxes
[H, W, A, 4] xyxy there, the anchors [A, 2] (w, h) in cells and a threshold, and gives `Candidates`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.ops.boxes import cxcywh_to_xyxy, iou, shape_iou, xyxy_to_cxcywh


class Candidates(NamedTuple):
    """The slots of each truth; the first is its own, which it has before any other truth's more."""

    slot: jax.Array  # int32 [M, K], index in H * W * A
    valid: jax.Array  # bool [M, K], the first always


class Place(NamedTuple):
    """Where the centre of each truth is."""

    column: jax.Array  # int32 [M]
    row: jax.Array  # int32 [M]
    within: jax.Array  # [M, 2], (x, y) from the cell's corner, in cells
    grid: jax.Array  # [2], (W, H)


def prior(truths, predicted, anchors, threshold) -> Candidates:
    """The cell of its centre and the prior of its shape (the paper's, Darknet's bias_match=1)."""
    place = find_place(truths, predicted)
    return _one(place, _likest(truths, anchors, place), predicted)


def predicted_shape(truths, predicted, anchors, threshold) -> Candidates:
    """The cell of its centre and of the boxes there that of its shape (Darknet, bias_match=0)."""
    place = find_place(truths, predicted)
    shapes = xyxy_to_cxcywh(predicted[place.row, place.column])[..., 2:]  # [M, A, 2]
    return _one(place, _first_best(shape_iou(truths[:, None, 2:], shapes)), predicted)


def predicted_iou(truths, predicted, anchors, threshold) -> Candidates:
    """The cell of its centre and the box there with the largest IoU (YOLOv1, section 2.2).

    Where none overlaps it, the prior of its shape.
    """
    place = find_place(truths, predicted)
    overlap = iou(predicted[place.row, place.column], cxcywh_to_xyxy(truths)[:, None])  # [M, A]
    likest = _likest(truths, anchors, place)
    anchor = jnp.where((overlap > 0).any(axis=-1), _first_best(overlap), likest)
    return _one(place, anchor, predicted)


def priors_above(truths, predicted, anchors, threshold) -> Candidates:
    """As `prior`, and all other priors of the cell whose shape has an IoU above `threshold`.

    So anchors are matched in Faster R-CNN (Ren et al. 2015, section 3.1.2), there by place too.
    """
    place = find_place(truths, predicted)
    overlap = _prior_iou(truths, anchors, place)  # [M, A]
    best, every = _first_best(overlap), jnp.arange(overlap.shape[1])
    anchor = jnp.concatenate([best[:, None], jnp.tile(every, (len(truths), 1))], axis=1)
    more = (overlap > threshold) & (every != best[:, None])
    valid = jnp.concatenate([jnp.ones_like(more[:, :1]), more], axis=1)
    return Candidates(_slots(place.row[:, None], place.column[:, None], anchor, predicted), valid)


def neighbours(truths, predicted, anchors, threshold) -> Candidates:
    """As `prior`, and that prior in the two cells that are nearest to the centre, left or right
    and above or below.

    A box of model.location "sigmoid" does not reach beyond its cell, so there it comes to the edge.
    """
    place = find_place(truths, predicted)
    step = jnp.where(place.within < 0.5, -1, 1)
    still = jnp.zeros_like(place.column)
    columns = place.column[:, None] + jnp.stack([still, step[:, 0], still], axis=1)
    rows = place.row[:, None] + jnp.stack([still, still, step[:, 1]], axis=1)
    height, width = predicted.shape[:2]
    valid = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    anchor = _likest(truths, anchors, place)[:, None]
    slot = _slots(jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1), anchor, predicted)
    return Candidates(slot, valid)


ASSIGNMENTS = {
    "prior": prior,
    "predicted_shape": predicted_shape,
    "predicted_iou": predicted_iou,
    "priors_above": priors_above,
    "neighbours": neighbours,
}


def cell_of_centre(centres, grid):
    """Column and row, int32 [..., 2], of the cell that centres [..., 2] fall in; `grid` is (W, H).

    A centre on the right or bottom edge belongs to the last cell.
    """
    return jnp.clip(jnp.floor(centres * grid), 0, grid - 1).astype(jnp.int32)


def find_place(truths, predicted) -> Place:
    """Where truths [M, 4] cxcywh are in the grid of `predicted` [H, W, A, 4]."""
    grid = jnp.array([predicted.shape[1], predicted.shape[0]], truths.dtype)
    cells = cell_of_centre(truths[:, :2], grid)
    return Place(cells[:, 0], cells[:, 1], truths[:, :2] * grid - cells, grid)


def _prior_iou(truths, anchors, place: Place):
    """IoU [M, A] of the shapes of truths and priors."""
    return shape_iou(truths[:, None, 2:], jnp.asarray(anchors, truths.dtype) / place.grid)


def _likest(truths, anchors, place: Place):
    return _first_best(_prior_iou(truths, anchors, place))


def _first_best(scores):
    """Index int32 [M] of the best in [M, A], the first of equals."""
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def _one(place: Place, anchor, predicted) -> Candidates:
    slot = _slots(place.row, place.column, anchor, predicted)[:, None]
    return Candidates(slot, jnp.ones_like(slot, bool))


def _slots(row, column, anchor, predicted):
    _, columns, num_anchors, _ = predicted.shape
    return ((row * columns + column) * num_anchors + anchor).astype(jnp.int32)
