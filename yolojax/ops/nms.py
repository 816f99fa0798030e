"""Non-maximum suppression with static shapes: exact, batched, inside jit."""

from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from yolojax.ops.boxes import iou

BLOCK = 256  # ranks; 128 run no faster on CPU and take a second longer to compile


class Detections(NamedTuple):
    """The K = max_detections detections of each image, best first; unused entries come last."""

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
    """Remove boxes that overlap a box with a better score, as Darknet's do_nms_sort.

    A candidate is a pair of a box and a class, so that a box may be detected as several classes.
    Equal scores rank by the index of the box, then of the class.

    Args:
        boxes: [B, N, 4] xyxy.
        scores: [B, N, C], objectness times class probability.
        iou_threshold: a candidate is removed if its IoU with a better one is larger (not equal).
        score_threshold: a candidate needs a larger score (not equal).
        top_k: number of candidates, the best of N * C, that are compared.
        max_detections: number of entries in the result.
        class_agnostic: candidates of other classes are removed too, also those of the same box.
        labels: int32 [B, N, C], the class of each score; by default its index, 0..C-1.

    Raises:
        ValueError: shapes do not match; top_k or max_detections below 1.
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
    """Suppress ranked boxes greedily -> keep, bool [B, K].

    From the best rank on, each box that is still kept removes the later ones of its group whose IoU
    with it is above iou_threshold.

    Args:
        boxes: [B, K, 4] xyxy, best first.
        groups: int [B, K]; boxes of different groups do not suppress each other.
        valid: bool [B, K], False on boxes that are ignored.
        enough: the number of kept boxes of an image that are needed; later ones may be wrong.
    """
    chex.assert_shape(boxes, (*valid.shape, 4))
    chex.assert_equal_shape([groups, valid])
    done, count, keep = [], 0, valid
    while keep.shape[1]:  # a block of ranks at a time; earlier blocks are final
        open_ = valid[:, -keep.shape[1] :]
        if enough is not None:
            open_ &= count < enough
        keep = _visit(boxes, groups, keep, open_, iou_threshold)
        done.append(keep[:, :BLOCK])
        count += jnp.sum(done[-1], axis=1, keepdims=True)
        boxes, groups, keep = (array[:, BLOCK:] for array in (boxes, groups, keep))
    return jnp.concatenate(done, axis=1) if done else valid


def _visit(boxes, groups, keep, open_, iou_threshold):
    """Update `keep` by the first BLOCK boxes, up to the last one of any image that is `open_`."""
    ranks = jnp.arange(keep.shape[1])

    def visit(rank, keep):
        box, group, kept = (
            jax.lax.dynamic_slice_in_dim(array, rank, 1, axis=1) for array in (boxes, groups, keep)
        )
        removed = (iou(box, boxes) > iou_threshold) & (group == groups) & (ranks > rank) & kept
        return keep & ~removed

    # No box after the last valid one of every image can remove another.
    stop = jnp.max(jnp.where(open_, ranks + 1, 0), initial=0)
    return jax.lax.fori_loop(0, jnp.minimum(stop, BLOCK), visit, keep)


def _gather(boxes, scores, labels, keep, size):
    """Return the first `size` candidates of `keep`, in order."""
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
