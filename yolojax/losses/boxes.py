"""What a predicted box costs beside its truth: the box terms of the region loss.

Each takes `values` and `target` [..., 4] in the units that the network predicts (x, y, log w, log
h), the boxes that they mean, `boxes_cxcywh` and `truth_cxcywh` [..., 4] in 0..1 of the network
input, and gives the cost [...]. All are 0 where the two are the same.
"""

import jax
import jax.numpy as jnp

from yolojax.losses.assign import MIN_SIZE
from yolojax.losses.terms import squared_error
from yolojax.ops.boxes import cxcywh_to_xyxy, iou


def squared(values, target, boxes_cxcywh, truth_cxcywh):
    """Half the squared distance in the network's units (region_layer.c, delta_region_box)."""
    return jnp.sum(squared_error(values, target), axis=-1)


def squared_root(values, target, boxes_cxcywh, truth_cxcywh):
    """The same, but for sizes half the squared distance of their roots (YOLOv1, equation 3)."""
    sizes, wanted = (jnp.sqrt(_sizes(boxes)) for boxes in (boxes_cxcywh, truth_cxcywh))
    centres = squared_error(values[..., :2], target[..., :2])
    return jnp.sum(centres + squared_error(sizes, wanted), axis=-1)


def smooth_l1(values, target, boxes_cxcywh, truth_cxcywh):
    """Squared where two numbers differ by less than 1, then straight (Girshick 2015, eq. 3)."""
    distance = jnp.abs(values - target)
    near = jnp.minimum(distance, 1)
    return jnp.sum(near * (distance - near / 2), axis=-1)


def iou_cost(values, target, boxes_cxcywh, truth_cxcywh):
    """1 - IoU, in 0..1 (of Yu et al. 2016 the linear form); no gradient where boxes are apart."""
    return 1 - iou(cxcywh_to_xyxy(boxes_cxcywh), cxcywh_to_xyxy(truth_cxcywh))


def giou(values, target, boxes_cxcywh, truth_cxcywh):
    """1 - GIoU, in 0..2: adds the share of the hull that is neither (Rezatofighi et al. 2019)."""
    overlap = iou(cxcywh_to_xyxy(boxes_cxcywh), cxcywh_to_xyxy(truth_cxcywh))
    areas = jnp.prod(boxes_cxcywh[..., 2:], -1) + jnp.prod(truth_cxcywh[..., 2:], -1)
    union = areas / (1 + overlap)  # areas = union + intersection = union * (1 + IoU)
    hull = jnp.prod(_hull(boxes_cxcywh, truth_cxcywh), axis=-1)
    return 1 - overlap + (hull - union) / hull


def diou(values, target, boxes_cxcywh, truth_cxcywh):
    """1 - IoU + d**2 / c**2, in 0..2 (Zheng et al. 2020, equation 7).

    d is the distance of the centres, c the diagonal of the hull.
    """
    distance = jnp.sum((boxes_cxcywh[..., :2] - truth_cxcywh[..., :2]) ** 2, axis=-1)
    diagonal = jnp.sum(_hull(boxes_cxcywh, truth_cxcywh) ** 2, axis=-1)
    return iou_cost(values, target, boxes_cxcywh, truth_cxcywh) + distance / diagonal


def ciou(values, target, boxes_cxcywh, truth_cxcywh):
    """DIoU's and alpha * v, of how the aspects differ, in 0..3 (Zheng et al. 2020, eq. 8 to 11).

    v = 4 / pi**2 * (atan(w_truth / h_truth) - atan(w / h))**2, alpha = v / (1 - IoU + v), constant.
    """
    wide, wanted = (_sizes(boxes) for boxes in (boxes_cxcywh, truth_cxcywh))
    angle = jnp.arctan(wanted[..., 0] / wanted[..., 1]) - jnp.arctan(wide[..., 0] / wide[..., 1])
    aspect = 4 / jnp.pi**2 * angle**2
    apart = iou_cost(values, target, boxes_cxcywh, truth_cxcywh)
    alpha = aspect / jnp.maximum(apart + aspect, jnp.finfo(apart.dtype).eps)  # 0 / 0: no cost
    share = jax.lax.stop_gradient(alpha) * aspect
    return diou(values, target, boxes_cxcywh, truth_cxcywh) + share


def _sizes(boxes_cxcywh):
    """Width and height [..., 2], not so small that roots and ratios have no finite gradient."""
    return jnp.maximum(boxes_cxcywh[..., 2:], MIN_SIZE)


def _hull(a_cxcywh, b_cxcywh):
    """Width and height [..., 2] of the smallest box around both."""
    a, b = cxcywh_to_xyxy(a_cxcywh), cxcywh_to_xyxy(b_cxcywh)
    return jnp.maximum(a[..., 2:], b[..., 2:]) - jnp.minimum(a[..., :2], b[..., :2])


BOX_TERMS = {
    "squared": squared,
    "squared_root": squared_root,
    "smooth_l1": smooth_l1,
    "iou": iou_cost,
    "giou": giou,
    "diou": diou,
    "ciou": ciou,
}
