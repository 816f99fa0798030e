"""Boxes: changes of format and intersection over union.

NumPy arrays in, NumPy arrays out; as soon as one argument is a JAX array, so is the result.
"""

import jax
import jax.numpy as jnp
import numpy as np


def _numpy_like(*arrays):
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def cxcywh_to_xyxy(boxes_cxcywh):
    """Boxes [..., 4] as (centre x, centre y, width, height) -> (left, top, right, bottom)."""
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return _numpy_like(boxes_cxcywh).concatenate([centre - half, centre + half], axis=-1)


def xyxy_to_cxcywh(boxes):
    """Boxes [..., 4] as (left, top, right, bottom) -> (centre x, centre y, width, height)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return _numpy_like(boxes).concatenate([(low + high) / 2, high - low], axis=-1)


def area(boxes):
    """Area of xyxy boxes [..., 4] -> [...]; a box turned inside out has none."""
    left, top, right, bottom = _coordinates(boxes)
    return _product_of_positive(right - left, bottom - top)


def intersection(a, b):
    """Area that xyxy boxes [..., 4] share, after broadcasting -> [...]."""
    xp = _numpy_like(a, b)
    a_left, a_top, a_right, a_bottom = _coordinates(a)
    b_left, b_top, b_right, b_bottom = _coordinates(b)
    width = xp.minimum(a_right, b_right) - xp.maximum(a_left, b_left)
    height = xp.minimum(a_bottom, b_bottom) - xp.maximum(a_top, b_top)
    return _product_of_positive(width, height)


def iou(a, b):
    """Intersection over union of xyxy boxes [..., 4], after broadcasting -> [...] in 0..1.

    Two boxes without area have IoU 0, and a finite gradient.
    """
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    return shared / _numpy_like(a, b).where(union > 0, union, 1)


def _coordinates(boxes):
    # One plane for each coordinate: on CPU, NMS is 5 times faster than with pairs of them.
    return tuple(boxes[..., i] for i in range(4))


def _product_of_positive(width, height):
    xp = _numpy_like(width)
    return xp.maximum(width, 0) * xp.maximum(height, 0)


def pairwise_iou(a, b):
    """IoU of every box in `a` [..., N, 4] with every box in `b` [..., M, 4] -> [..., N, M]."""
    return iou(a[..., :, None, :], b[..., None, :, :])


def shape_iou(a, b):
    """IoU of sizes (w, h) [..., 2] laid over a common centre, after broadcasting -> [...].

    The measure of the paper's dimension clusters (YOLO9000, section 2).
    """
    xp = _numpy_like(a, b)
    shared = xp.prod(xp.minimum(a, b), axis=-1)
    union = xp.prod(a, axis=-1) + xp.prod(b, axis=-1) - shared
    return shared / xp.where(union > 0, union, 1)
