"""Which slot answers for which truth (Darknet's region_layer.c, forward_region_layer).

A slot is one anchor of one grid cell. Every result is a constant of the loss: no gradient flows
through it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.losses.candidates import ASSIGNMENTS, Candidates
from yolojax.ops.boxes import pairwise_iou, xyxy_to_cxcywh

MIN_SIZE = 1e-6  # of the image: no picture has such a pixel, and log(0) is no target


class Assignment(NamedTuple):
    """Targets of every slot, and where every truth went.

    Where a slot is not responsible, its boxes, labels and iou mean nothing.
    """

    responsible: jax.Array  # bool [B, H, W, A], the slot answers for a truth
    boxes_cxcywh: jax.Array  # [B, H, W, A, 4] that truth, 0..1 of the network input
    labels: jax.Array  # int32 [B, H, W, A] its class
    iou: jax.Array  # [B, H, W, A] of the predicted box with that truth
    best_iou: jax.Array  # [B, H, W, A] of the compared box with any truth
    truth_mask: jax.Array  # bool [B, M], the truths that count
    truth_slot: jax.Array  # int32 [B, M], index of the truth's own slot in H * W * A
    truth_iou: jax.Array  # [B, M] of that slot's predicted box with the truth
    slots: Candidates  # [B, M, K], all slots of each truth; valid: its own, and what it has beside


def assign(
    predicted, anchors, batch, *, rule: str = "prior", threshold: float = 0.5, compared=None
) -> Assignment:
    """Give each truth the slot, or the slots, that a rule of `candidates.ASSIGNMENTS` names.

    A slot is a truth's own before it is one more of another's. Of several truths on one slot, the
    last in the list has it. Truths narrower or lower than MIN_SIZE are left out, whatever the mask
    says.

    Args:
        predicted: [B, H, W, A, 4], xyxy of the network input.
        anchors: [A, 2], (w, h) in grid cells.
        batch: boxes [B, M, 4] xyxy, labels int32 [B, M], mask bool [B, M] True on real truths.
        rule: a key of ASSIGNMENTS.
        threshold: that of the rule.
        compared: [H, W, A, 4] xyxy, the boxes that best_iou is of; None = `predicted`.
    """

    def one_image(predicted, boxes, labels, mask):
        whom = predicted if compared is None else compared
        boxes, mask = real_truths(boxes, mask)
        slots = ASSIGNMENTS[rule](xyxy_to_cxcywh(boxes), predicted, anchors, threshold)
        return _assign_image(predicted, slots, whom, boxes, labels, mask)

    truths = batch["boxes"], batch["labels"], batch["mask"]
    return jax.vmap(one_image)(*jax.lax.stop_gradient((predicted, *truths)))


def _assign_image(predicted, slots: Candidates, compared, boxes, labels, mask):
    shape = predicted.shape[:-1]  # H, W, A
    owner = _owner_of_slot(slots, mask, predicted.size // 4)  # [N], -1 without a truth
    ious = jnp.where(mask, pairwise_iou(predicted.reshape(-1, 4), boxes), 0)  # [N, M]
    if compared is predicted:
        best = ious
    else:
        best = jnp.where(mask, pairwise_iou(compared.reshape(-1, 4), boxes), 0)
    own = slots.slot[:, 0]
    return Assignment(
        responsible=(owner >= 0).reshape(shape),
        boxes_cxcywh=xyxy_to_cxcywh(boxes)[owner].reshape(*shape, 4),
        labels=labels[owner].reshape(shape),
        iou=jnp.take_along_axis(ious, owner[:, None], axis=1).reshape(shape),
        best_iou=jnp.max(best, axis=-1).reshape(shape),
        truth_mask=mask,
        truth_slot=own,
        truth_iou=jnp.take_along_axis(ious, own[None, :], axis=0)[0],
        slots=_what_it_has(slots, owner),
    )


def real_truths(boxes, mask):
    """The truths xyxy [..., M, 4] and which of them count, bool [..., M].

    Truths narrower or lower than MIN_SIZE do not. What does not count becomes the whole image, so
    that logarithms, roots and IoU of it stay finite.
    """
    mask = mask & (boxes[..., 2:] - boxes[..., :2] > MIN_SIZE).all(axis=-1)
    return jnp.where(mask[..., None], boxes, jnp.array([0.0, 0, 1, 1], boxes.dtype)), mask


def _owner_of_slot(slots: Candidates, mask, num_slots):
    """The truth [N] that each slot answers for, -1 where there is none."""
    truths, many = slots.slot.shape
    rank = jnp.arange(truths, dtype=jnp.int32)[:, None]
    rank = rank + truths * (jnp.arange(many) == 0)  # a truth's own slot comes before one more
    rank = jnp.where(slots.valid & mask[:, None], rank, -1)
    # max is the same in any order of its arguments, so equal slots are no race.
    best = jnp.full(num_slots, -1, jnp.int32).at[slots.slot.ravel()].max(rank.ravel())
    return jnp.where(best >= 0, best % truths, -1)


def _what_it_has(slots: Candidates, owner) -> Candidates:
    """`slots` but for those, beside a truth's own, that another truth has."""
    has = owner[slots.slot] == jnp.arange(len(slots.slot))[:, None]
    return slots._replace(valid=slots.valid & (has | (jnp.arange(slots.slot.shape[1]) == 0)))
