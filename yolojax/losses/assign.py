"""Which slot answers for which truth (Darknet's region_layer.c, forward_region_layer).

A slot is one anchor of one grid cell. Every result is a constant of the loss: no gradient flows
through it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.ops.boxes import pairwise_iou, shape_iou, xyxy_to_cxcywh

MIN_SIZE = 1e-6  # of the image: no picture has such a pixel, and log(0) is no target


class Assignment(NamedTuple):
    """Targets of every slot, and where every truth went.

    Where a slot is not responsible, its boxes, labels and iou mean nothing.
    """

    responsible: jax.Array  # bool [B, H, W, A], the slot answers for a truth
    boxes_cxcywh: jax.Array  # [B, H, W, A, 4] that truth, 0..1 of the network input
    labels: jax.Array  # int32 [B, H, W, A] its class
    iou: jax.Array  # [B, H, W, A] of the predicted box with that truth
    best_iou: jax.Array  # [B, H, W, A] of the predicted box with any truth
    truth_mask: jax.Array  # bool [B, M], the truths that count
    truth_slot: jax.Array  # int32 [B, M], index of the truth's slot in H * W * A
    truth_iou: jax.Array  # [B, M] of that slot's predicted box with the truth


def assign(predicted, anchors, batch, *, bias_match: bool) -> Assignment:
    """Give each truth the slot of its centre's cell and of the anchor that fits it best.

    Of several truths on one slot, the last in the list has it. Truths narrower or lower than
    MIN_SIZE are left out, whatever the mask says.

    Args:
        predicted: [B, H, W, A, 4], xyxy of the network input.
        anchors: [A, 2], (w, h) in grid cells.
        batch: boxes [B, M, 4] xyxy, labels int32 [B, M], mask bool [B, M] True on real truths.
        bias_match: fit the truth's shape to the anchors; False = to the cell's predicted boxes.
    """

    def one_image(predicted, boxes, labels, mask):
        return _assign_image(predicted, anchors, boxes, labels, mask, bias_match)

    truths = batch["boxes"], batch["labels"], batch["mask"]
    return jax.vmap(one_image)(*jax.lax.stop_gradient((predicted, *truths)))


def _assign_image(predicted, anchors, boxes, labels, mask, bias_match):
    shape = predicted.shape[:-1]  # H, W, A
    boxes, mask = real_truths(boxes, mask)
    truths = xyxy_to_cxcywh(boxes)
    slot = _slot_of_truth(truths, predicted, anchors if bias_match else None)
    owner = _last_truth_of_slot(slot, mask, predicted.size // 4)  # [N], -1 without a truth
    ious = jnp.where(mask, pairwise_iou(predicted.reshape(-1, 4), boxes), 0)  # [N, M]
    return Assignment(
        responsible=(owner >= 0).reshape(shape),
        boxes_cxcywh=truths[owner].reshape(*shape, 4),
        labels=labels[owner].reshape(shape),
        iou=jnp.take_along_axis(ious, owner[:, None], axis=1).reshape(shape),
        best_iou=jnp.max(ious, axis=-1).reshape(shape),
        truth_mask=mask,
        truth_slot=slot,
        truth_iou=jnp.take_along_axis(ious, slot[None, :], axis=0)[0],
    )


def real_truths(boxes, mask):
    """The truths xyxy [..., M, 4] and which of them count, bool [..., M].

    Truths narrower or lower than MIN_SIZE do not. What does not count becomes the whole image, so
    that logarithms, roots and IoU of it stay finite.
    """
    mask = mask & (boxes[..., 2:] - boxes[..., :2] > MIN_SIZE).all(axis=-1)
    return jnp.where(mask[..., None], boxes, jnp.array([0.0, 0, 1, 1], boxes.dtype)), mask


def cell_of_centre(centres, grid):
    """Column and row, int32 [..., 2], of the cell that centres [..., 2] fall in; `grid` is (W, H).

    A centre on the right or bottom edge belongs to the last cell.
    """
    return jnp.clip(jnp.floor(centres * grid), 0, grid - 1).astype(jnp.int32)


def _slot_of_truth(truths, predicted, anchors):
    """Slot [M] of truths [M, 4] cxcywh; by the shape of `predicted` where anchors is None."""
    rows, columns, num_anchors, _ = predicted.shape
    grid = jnp.array([columns, rows], truths.dtype)
    column, row = cell_of_centre(truths[:, :2], grid).T
    if anchors is None:
        shapes = xyxy_to_cxcywh(predicted[row, column])[..., 2:]  # [M, A, 2]
    else:
        shapes = jnp.asarray(anchors, truths.dtype) / grid
    anchor = jnp.argmax(shape_iou(truths[:, None, 2:], shapes), axis=-1)  # the first of equals
    return (row * columns + column) * num_anchors + anchor.astype(jnp.int32)


def _last_truth_of_slot(slot, mask, num_slots):
    """Index [N] of the last truth on each slot, -1 where there is none."""
    order = jnp.where(mask, jnp.arange(len(slot), dtype=jnp.int32), -1)
    # max is the same in any order of its arguments, so equal slots are no race.
    return jnp.full(num_slots, -1, jnp.int32).at[slot].max(order)
