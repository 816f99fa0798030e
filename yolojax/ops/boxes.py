"""Formats of boxes, and intersection over union.

The result is a JAX array if an argument is one, else a NumPy array.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np


def _numpy_like(*arrays):
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def cxcywh_to_xyxy(boxes_cxcywh):
    """Convert boxes [..., 4] from (centre x, y, width, height) to (left, top, right, bottom)."""
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return _numpy_like(boxes_cxcywh).concatenate([centre - half, centre + half], axis=-1)


def xyxy_to_cxcywh(boxes):
    """Convert boxes [..., 4] from (left, top, right, bottom) to (centre x, y, width, height)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return _numpy_like(boxes).concatenate([(low + high) / 2, high - low], axis=-1)


def area(boxes):
    """Compute the area [...] of xyxy boxes [..., 4]; 0 if right < left or bottom < top."""
    left, top, right, bottom = _coordinates(boxes)
    return _product_of_positive(right - left, bottom - top)


def intersection(a, b):
    """Compute the area [...] that xyxy boxes [..., 4] share, with broadcasting."""
    chex.assert_axis_dimension(a, -1, 4)
    chex.assert_axis_dimension(b, -1, 4)
    xp = _numpy_like(a, b)
    a_left, a_top, a_right, a_bottom = _coordinates(a)
    b_left, b_top, b_right, b_bottom = _coordinates(b)
    width = xp.minimum(a_right, b_right) - xp.maximum(a_left, b_left)
    height = xp.minimum(a_bottom, b_bottom) - xp.maximum(a_top, b_top)
    return _product_of_positive(width, height)


def iou(a, b):
    """Compute the intersection over union [...] of xyxy boxes [..., 4], with broadcasting.

    Two boxes without area have IoU 0 and a finite gradient.
    """
    shared = intersection(a, b)
    union = area(a) + area(b) - shared
    return shared / _numpy_like(a, b).where(union > 0, union, 1)


def _coordinates(boxes):
    # One array for each coordinate: NMS on CPU is 5 times as fast as with pairs.
    return tuple(boxes[..., i] for i in range(4))


def _product_of_positive(width, height):
    xp = _numpy_like(width)
    return xp.maximum(width, 0) * xp.maximum(height, 0)


def pairwise_iou(a, b):
    """Compute the IoU [..., N, M] of all pairs of boxes of `a` [..., N, 4] and `b` [..., M, 4]."""
    return iou(a[..., :, None, :], b[..., None, :, :])


def shape_iou(a, b):
    """Compute the IoU [...] of boxes with sizes (w, h) [..., 2] and the same centre.

    It is the distance of the dimension clusters (YOLO9000, section 2). Arguments broadcast.
    """
    chex.assert_axis_dimension(a, -1, 2)
    chex.assert_axis_dimension(b, -1, 2)
    xp = _numpy_like(a, b)
    shared = xp.prod(xp.minimum(a, b), axis=-1)
    union = xp.prod(a, axis=-1) + xp.prod(b, axis=-1) - shared
    return shared / xp.where(union > 0, union, 1)
