"""Non-maximum suppression with static shapes: exact, batched, inside jit."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.ops.boxes import iou

STRETCH = 256  # ranks; 128 run no faster on CPU and take a second longer to compile


class Detections(NamedTuple):
    """What is left of each image, best first; K is max_detections, unused places come last."""

    boxes: jax.Array  # [B, K, 4] xyxy, 0 where unused
    scores: jax.Array  # [B, K], 0 where unused
    labels: jax.Array  # int32 [B, K], -1 where unused
    valid: jax.Array  # bool [B, K]
    count: jax.Array  # int32 [B], number of valid


@partial(jax.jit, static_argnames=("top_k", "max_detections", "class_agnostic"))
def nms(
    boxes,
    scores,
    *,
    iou_threshold: float,
    score_threshold: float,
    top_k: int,
    max_detections: int,
    class_agnostic: bool = False,
    labels=None,
) -> Detections:
    """Keep the best-scored of the boxes that overlap, as Darknet's do_nms_sort.

    A candidate is a pair of a box and a class, so that a box may be detected as several classes.
    Equal scores rank by the index of the box, then of the class.

    Args:
        boxes: [B, N, 4] xyxy.
        scores: [B, N, C], objectness times class probability.
        iou_threshold: a candidate goes if its IoU with a better one is larger (not equal).
        score_threshold: candidates must score more (not equal).
        top_k: number of candidates, the best of the N * C, that take part.
        max_detections: number of places in the result.
        class_agnostic: candidates of other classes suppress too, also those of the same box.
        labels: int32 [B, N, C], the class of each score; by default its place, 0 to C - 1.

    Raises:
        ValueError: shapes that do not belong together; top_k or max_detections below 1.
    """
    _check(boxes, scores, top_k, max_detections)
    batch, _, classes = scores.shape
    flat = jnp.where(scores > score_threshold, scores, -jnp.inf).reshape(batch, -1)
    ranked, index = jax.lax.top_k(flat, min(top_k, flat.shape[1]))  # equals: lower index first
    ranked_boxes = jnp.take_along_axis(boxes, index[..., None] // classes, axis=1)
    if labels is None:
        labels = index % classes
    else:
        labels = jnp.take_along_axis(labels.reshape(batch, -1), index, axis=1)
    groups = jnp.zeros_like(labels) if class_agnostic else labels
    valid = ranked > -jnp.inf
    keep = suppress(ranked_boxes, groups, valid, iou_threshold, enough=max_detections)
    return _gather(ranked_boxes, ranked, labels, keep, max_detections)


def suppress(boxes, groups, valid, iou_threshold, *, enough: int | None = None):
    """Greedy suppression among ranked boxes -> keep, bool [B, K].

    Going down the ranks, each box that is still kept removes the later ones of its group that
    overlap it by more than iou_threshold.

    Args:
        boxes: [B, K, 4] xyxy, best first.
        groups: int [B, K]; boxes of different groups never meet.
        valid: bool [B, K], the boxes that take part.
        enough: how many of the kept boxes of an image matter; those that come after may be wrong.
    """
    done, found, keep = [], 0, valid
    while keep.shape[1]:  # a stretch of ranks at a time: the earlier ones have nothing to lose
        open_ = valid[:, -keep.shape[1] :]
        if enough is not None:
            open_ &= found < enough
        keep = _visit(boxes, groups, keep, open_, iou_threshold)
        done.append(keep[:, :STRETCH])
        found += jnp.sum(done[-1], axis=1, keepdims=True)
        boxes, groups, keep = (array[:, STRETCH:] for array in (boxes, groups, keep))
    return jnp.concatenate(done, axis=1) if done else valid


def _visit(boxes, groups, keep, open_, iou_threshold):
    """`keep` after the first STRETCH boxes, down to the last of any image that is `open_`."""
    ranks = jnp.arange(keep.shape[1])

    def visit(rank, keep):
        box, group, kept = (
            jax.lax.dynamic_slice_in_dim(array, rank, 1, axis=1) for array in (boxes, groups, keep)
        )
        removed = (iou(box, boxes) > iou_threshold) & (group == groups) & (ranks > rank) & kept
        return keep & ~removed

    # Past the last valid box of every image there is nothing to remove.
    stop = jnp.max(jnp.where(open_, ranks + 1, 0), initial=0)
    return jax.lax.fori_loop(0, jnp.minimum(stop, STRETCH), visit, keep)


def _gather(boxes, scores, labels, keep, size):
    """The first `size` of the candidates to `keep`, in order, as Detections."""
    ranks = jnp.arange(keep.shape[1])
    order = jnp.sort(jnp.where(keep, ranks, ranks + len(ranks)), axis=1)[:, :size]
    order = jnp.pad(order, ((0, 0), (0, size - order.shape[1])), constant_values=len(ranks))
    valid = order < len(ranks)
    index = jnp.where(valid, order, 0)
    return Detections(
        boxes=jnp.where(valid[..., None], jnp.take_along_axis(boxes, index[..., None], axis=1), 0),
        scores=jnp.where(valid, jnp.take_along_axis(scores, index, axis=1), 0),
        labels=jnp.where(valid, jnp.take_along_axis(labels, index, axis=1), -1),
        valid=valid,
        count=jnp.sum(valid, axis=1, dtype=jnp.int32),
    )


def _check(boxes, scores, top_k, max_detections):
    if boxes.ndim != 3 or boxes.shape != (*scores.shape[:2], 4) or scores.ndim != 3:
        raise ValueError(
            "nms needs boxes [B, N, 4] and scores [B, N, C] of the same B and N, "
            f"got {boxes.shape} and {scores.shape}."
        )
    for name, value in (("top_k", top_k), ("max_detections", max_detections)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
