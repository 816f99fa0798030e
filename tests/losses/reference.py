"""The terms of losses in float64 NumPy, from the formulas of the papers, one box at a time.

Nothing here is shared with the package: boxes are (x, y, w, h), sizes are floats.
"""

import math

import numpy as np


def corners(box):
    x, y, w, h = map(float, box)
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def iou_and_hull(a, b):
    """IoU, union, width and height of the smallest box around both."""
    (al, at, ar, ab), (bl, bt, br, bb) = corners(a), corners(b)
    shared = max(0.0, min(ar, br) - max(al, bl)) * max(0.0, min(ab, bb) - max(at, bt))
    union = (ar - al) * (ab - at) + (br - bl) * (bb - bt) - shared
    return shared / union, union, max(ar, br) - min(al, bl), max(ab, bb) - min(at, bt)


def iou(values, target, a, b):
    return 1 - iou_and_hull(a, b)[0]


def giou(values, target, a, b):
    """Rezatofighi et al. 2019, algorithm 1: GIoU = IoU - |C \\ (A u B)| / |C|, loss 1 - GIoU."""
    overlap, union, width, height = iou_and_hull(a, b)
    hull = width * height
    return 1 - (overlap - (hull - union) / hull)


def diou(values, target, a, b):
    """Zheng et al. 2020, equation 7: 1 - IoU + rho**2(b, b_gt) / c**2."""
    overlap, _, width, height = iou_and_hull(a, b)
    distance = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
    return 1 - overlap + distance / (width**2 + height**2)


def aspect(a, b):
    """Equation 9 there: v = 4 / pi**2 (arctan(w_gt / h_gt) - arctan(w / h))**2."""
    return 4 / math.pi**2 * (math.atan(b[2] / b[3]) - math.atan(a[2] / a[3])) ** 2


def alpha(a, b):
    """Equation 11 there: v / ((1 - IoU) + v)."""
    return aspect(a, b) / (1 - iou_and_hull(a, b)[0] + aspect(a, b))


def ciou(values, target, a, b):
    """Equation 10 there: DIoU's and alpha v."""
    return diou(values, target, a, b) + alpha(a, b) * aspect(a, b)


def smooth_l1(values, target, a, b):
    """Girshick 2015, equation 3, summed over x, y, w, h (equation 2)."""
    return sum(0.5 * d * d if abs(d) < 1 else abs(d) - 0.5 for d in np.subtract(values, target))


def squared(values, target, a, b):
    """region_layer.c, delta_region_box: the delta is t - x, so the cost is half its square."""
    return 0.5 * sum(d * d for d in np.subtract(values, target))


def squared_root(values, target, a, b):
    """YOLOv1, equation 3: (x - x^)**2 + (y - y^)**2 + (w**.5 - w^**.5)**2 + ..., halved here."""
    centre = sum((values[i] - target[i]) ** 2 for i in (0, 1))
    size = sum((math.sqrt(a[i]) - math.sqrt(b[i])) ** 2 for i in (2, 3))
    return 0.5 * (centre + size)


BOX = {
    "squared": squared,
    "squared_root": squared_root,
    "smooth_l1": smooth_l1,
    "iou": iou,
    "giou": giou,
    "diou": diou,
    "ciou": ciou,
}


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


def bce(logit, target, gamma):
    p = sigmoid(logit)
    return -(target * math.log(p) + (1 - target) * math.log(1 - p))


def focal(logit, target, gamma):
    """Lin et al. 2017, equation 4 without alpha: -(1 - p)**gamma log p of what is there."""
    p = sigmoid(logit)
    there, absent = (1 - p) ** gamma * -math.log(p), p**gamma * -math.log(1 - p)
    return target * there + (1 - target) * absent


OBJECTNESS = {
    "squared": lambda logit, target, gamma: 0.5 * (target - sigmoid(logit)) ** 2,
    "bce": bce,
    "focal": focal,
    # Li et al. 2020, equation 3: |y - sigma|**beta ((1 - y) log(1 - sigma) + y log sigma), negated.
    "quality_focal": lambda logit, target, gamma: (
        abs(target - sigmoid(logit)) ** gamma * bce(logit, target, gamma)
    ),
}


def softmax(logits):
    odds = [math.exp(logit - max(logits)) for logit in logits]
    return [odd / sum(odds) for odd in odds]


def activated(logits, activation):
    return softmax(logits) if activation == "softmax" else [sigmoid(logit) for logit in logits]


def class_cross_entropy(logits, wanted, activation):
    """Of a softmax -sum(y log p); of sigmoids the binary one of each class."""
    if activation == "softmax":
        return -sum(y * math.log(p) for y, p in zip(wanted, softmax(logits), strict=True))
    return sum(bce(logit, y, 0) for logit, y in zip(logits, wanted, strict=True))


def class_squared(logits, wanted, activation):
    """YOLOv1, equation 3: (p - p^)**2, summed over the classes, halved here."""
    probs = activated(logits, activation)
    return 0.5 * sum((y - p) ** 2 for y, p in zip(wanted, probs, strict=True))


CLASSES = {"cross_entropy": class_cross_entropy, "squared": class_squared}
