"""Assign ground-truth boxes to anchor positions (Darknet's region_layer.c, forward_region_layer).

An anchor position is one anchor of one grid cell. N = H * W * A of them have the indices
(row * W + column) * A + anchor. No gradient flows through an assignment.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from yolojax.ops.boxes import cxcywh_to_xyxy, iou, pairwise_iou, shape_iou, xyxy_to_cxcywh

MIN_SIZE = 1e-6  # of the image: smaller than a pixel of any picture; log(0) is no target


class Candidates(NamedTuple):
    """The anchor positions of each ground-truth box, the main one first."""

    position: jax.Array  # int32 [M, K], 0..N-1
    valid: jax.Array  # bool [M, K]; the first is always valid


class Assignment(NamedTuple):
    """The ground-truth box of each anchor position, and the positions of each ground-truth box.

    Where `responsible` is False, boxes_cxcywh, labels and iou have no meaning.
    """

    responsible: jax.Array  # bool [B, H, W, A], a ground-truth box is assigned to the position
    boxes_cxcywh: jax.Array  # [B, H, W, A, 4] that box, 0..1 of the network input
    labels: jax.Array  # int32 [B, H, W, A] its class
    iou: jax.Array  # [B, H, W, A] of the predicted box with it
    best_iou: jax.Array  # [B, H, W, A] largest IoU of the compared box with any ground-truth box
    gt_mask: jax.Array  # bool [B, M], the ground-truth boxes that count
    gt_position: jax.Array  # int32 [B, M], the main position of each, 0..N-1
    gt_iou: jax.Array  # [B, M] IoU of the box predicted there
    candidates: Candidates  # [B, M, K], all positions of each that no other box has taken


def assign(
    predicted, anchors, batch, *, rule: str = "prior", threshold: float = 0.5, compared=None
) -> Assignment:
    """Assign each ground-truth box to one or several anchor positions.

    The main position of a box takes precedence over a further position of another box. If several
    boxes have the same main position, the last one in the list is assigned to it. Boxes with a
    side below MIN_SIZE are left out.

    Args:
        predicted: [B, H, W, A, 4], predicted boxes, xyxy of the network input.
        anchors: [A, 2], (w, h) in grid cells.
        batch: boxes [B, M, 4] xyxy, labels int32 [B, M], mask bool [B, M] with False on padding.
        rule: a key of ASSIGNMENTS.
        threshold: of the rule.
        compared: [H, W, A, 4] xyxy, the boxes for best_iou; None means `predicted`.
    """
    boxes, labels, mask = batch["boxes"], batch["labels"], batch["mask"]
    chex.assert_shape(predicted, (len(boxes), None, None, len(anchors), 4))
    chex.assert_shape(boxes, (*mask.shape, 4))
    chex.assert_equal_shape([labels, mask])

    def one_image(predicted, boxes, labels, mask):
        boxes, mask = valid_boxes(boxes, mask)
        candidates = ASSIGNMENTS[rule](xyxy_to_cxcywh(boxes), predicted, anchors, threshold)
        others = predicted if compared is None else compared
        return _assign_image(predicted, candidates, others, boxes, labels, mask)

    return jax.vmap(one_image)(*jax.lax.stop_gradient((predicted, boxes, labels, mask)))


def _assign_image(predicted, candidates: Candidates, compared, boxes, labels, mask):
    shape = predicted.shape[:-1]  # H, W, A
    owner = _owner_of_position(candidates, mask, predicted.size // 4)  # [N], -1 = none
    ious = jnp.where(mask, pairwise_iou(predicted.reshape(-1, 4), boxes), 0)  # [N, M]
    if compared is predicted:
        best = ious
    else:
        best = jnp.where(mask, pairwise_iou(compared.reshape(-1, 4), boxes), 0)
    main = candidates.position[:, 0]
    return Assignment(
        responsible=(owner >= 0).reshape(shape),
        boxes_cxcywh=xyxy_to_cxcywh(boxes)[owner].reshape(*shape, 4),
        labels=labels[owner].reshape(shape),
        iou=jnp.take_along_axis(ious, owner[:, None], axis=1).reshape(shape),
        best_iou=jnp.max(best, axis=-1).reshape(shape),
        gt_mask=mask,
        gt_position=main,
        gt_iou=jnp.take_along_axis(ious, main[None, :], axis=0)[0],
        candidates=_without_taken(candidates, owner),
    )


def valid_boxes(boxes, mask):
    """Return boxes [..., M, 4] xyxy and mask [..., M] without padding and degenerate boxes.

    The mask is False for boxes with a side below MIN_SIZE. Each box outside the mask becomes the
    whole image, so that its logarithms, roots and IoU stay finite.
    """
    mask = mask & (boxes[..., 2:] - boxes[..., :2] > MIN_SIZE).all(axis=-1)
    return jnp.where(mask[..., None], boxes, jnp.array([0.0, 0, 1, 1], boxes.dtype)), mask


def _owner_of_position(candidates: Candidates, mask, num_positions):
    """Return the index [N] of the box that is assigned to each position, -1 for none."""
    count, many = candidates.position.shape
    rank = jnp.arange(count, dtype=jnp.int32)[:, None]
    rank = rank + count * (jnp.arange(many) == 0)  # main positions take precedence
    rank = jnp.where(candidates.valid & mask[:, None], rank, -1)
    # The result of max does not depend on the order of the updates.
    best = jnp.full(num_positions, -1, jnp.int32)
    best = best.at[candidates.position.ravel()].max(rank.ravel())
    return jnp.where(best >= 0, best % count, -1)


def _without_taken(candidates: Candidates, owner) -> Candidates:
    """Mark as invalid the further positions that are assigned to another box."""
    boxes, many = candidates.position.shape
    owned = owner[candidates.position] == jnp.arange(boxes)[:, None]
    return candidates._replace(valid=candidates.valid & (owned | (jnp.arange(many) == 0)))


# The rules. Each takes the ground-truth boxes of an image [M, 4] cxcywh in 0..1 of the network
# input, the predicted boxes [H, W, A, 4] xyxy, the anchors [A, 2] (w, h) in cells and a threshold.


def prior(boxes_cxcywh, predicted, anchors, threshold) -> Candidates:
    """Choose the cell of the centre, and the prior of the best shape (Darknet, bias_match=1)."""
    cells = centre_cells(boxes_cxcywh, predicted)
    return _single(cells, _best_prior(boxes_cxcywh, anchors, cells), predicted)


def predicted_shape(boxes_cxcywh, predicted, anchors, threshold) -> Candidates:
    """Choose the cell of the centre, and the prediction of the best shape (bias_match=0)."""
    cells = centre_cells(boxes_cxcywh, predicted)
    shapes = xyxy_to_cxcywh(predicted[cells.row, cells.column])[..., 2:]  # [M, A, 2]
    return _single(cells, _argmax(shape_iou(boxes_cxcywh[:, None, 2:], shapes)), predicted)


def predicted_iou(boxes_cxcywh, predicted, anchors, threshold) -> Candidates:
    """Choose the cell of the centre, and the prediction of the largest IoU (YOLOv1, section 2.2).

    If no prediction of the cell overlaps the box, the prior of the best shape is chosen.
    """
    cells = centre_cells(boxes_cxcywh, predicted)
    boxes = cxcywh_to_xyxy(boxes_cxcywh)[:, None]
    overlap = iou(predicted[cells.row, cells.column], boxes)  # [M, A]
    fallback = _best_prior(boxes_cxcywh, anchors, cells)
    anchor = jnp.where((overlap > 0).any(axis=-1), _argmax(overlap), fallback)
    return _single(cells, anchor, predicted)


def priors_above(boxes_cxcywh, predicted, anchors, threshold) -> Candidates:
    """Choose as `prior`, and all priors of the cell whose shape has an IoU above `threshold`.

    Faster R-CNN matches anchors so, with their place (Ren et al. 2015, section 3.1.2).
    """
    cells = centre_cells(boxes_cxcywh, predicted)
    overlap = _prior_iou(boxes_cxcywh, anchors, cells)  # [M, A]
    best, every = _argmax(overlap), jnp.arange(overlap.shape[1])
    anchor = jnp.concatenate([best[:, None], jnp.tile(every, (len(boxes_cxcywh), 1))], axis=1)
    more = (overlap > threshold) & (every != best[:, None])
    valid = jnp.concatenate([jnp.ones_like(more[:, :1]), more], axis=1)
    return Candidates(_index(cells.row[:, None], cells.column[:, None], anchor, predicted), valid)


def neighbours(boxes_cxcywh, predicted, anchors, threshold) -> Candidates:
    """Choose as `prior`, and the same prior in the two cells nearest to the centre.

    One of them is left or right of the cell, the other above or below. With model.location
    "sigmoid" a box cannot leave its cell, so there its centre moves to the edge.
    """
    cells = centre_cells(boxes_cxcywh, predicted)
    step = jnp.where(cells.offset < 0.5, -1, 1)
    still = jnp.zeros_like(cells.column)
    columns = cells.column[:, None] + jnp.stack([still, step[:, 0], still], axis=1)
    rows = cells.row[:, None] + jnp.stack([still, still, step[:, 1]], axis=1)
    height, width = predicted.shape[:2]
    valid = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    anchor = _best_prior(boxes_cxcywh, anchors, cells)[:, None]
    rows, columns = jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)
    return Candidates(_index(rows, columns, anchor, predicted), valid)


ASSIGNMENTS = {
    "prior": prior,
    "predicted_shape": predicted_shape,
    "predicted_iou": predicted_iou,
    "priors_above": priors_above,
    "neighbours": neighbours,
}


class CentreCells(NamedTuple):
    """The grid cells of the centres of M boxes."""

    column: jax.Array  # int32 [M]
    row: jax.Array  # int32 [M]
    offset: jax.Array  # [M, 2], (x, y) of the centre from the cell's corner, in cells
    grid: jax.Array  # [2], (W, H)


def centre_cells(boxes_cxcywh, predicted) -> CentreCells:
    """Find the cells of boxes [M, 4] in the grid of `predicted` [H, W, A, 4]."""
    grid = jnp.array([predicted.shape[1], predicted.shape[0]], boxes_cxcywh.dtype)
    cells = cell_of_centre(boxes_cxcywh[:, :2], grid)
    return CentreCells(cells[:, 0], cells[:, 1], boxes_cxcywh[:, :2] * grid - cells, grid)


def cell_of_centre(centres, grid):
    """Return column and row, int32 [..., 2], of the cells of centres [..., 2] in a grid (W, H).

    A centre on the right or bottom edge of the image belongs to the last cell.
    """
    return jnp.clip(jnp.floor(centres * grid), 0, grid - 1).astype(jnp.int32)


def _prior_iou(boxes_cxcywh, anchors, cells: CentreCells):
    """Compute the IoU [M, A] of the shapes of boxes and priors."""
    priors = jnp.asarray(anchors, boxes_cxcywh.dtype) / cells.grid
    return shape_iou(boxes_cxcywh[:, None, 2:], priors)


def _best_prior(boxes_cxcywh, anchors, cells: CentreCells):
    return _argmax(_prior_iou(boxes_cxcywh, anchors, cells))


def _argmax(scores):
    """Return the index int32 [M] of the largest in [M, A], the first of equals."""
    return jnp.argmax(scores, axis=-1).astype(jnp.int32)


def _single(cells: CentreCells, anchor, predicted) -> Candidates:
    position = _index(cells.row, cells.column, anchor, predicted)[:, None]
    return Candidates(position, jnp.ones_like(position, bool))


def _index(row, column, anchor, predicted):
    _, columns, num_anchors, _ = predicted.shape
    return ((row * columns + column) * num_anchors + anchor).astype(jnp.int32)
