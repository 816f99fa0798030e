"""The terms of the losses: their formulas, and how they become one scalar.

The formulas follow Darknet: the derivative of a term is its `delta`, negated. A delta is weight *
(target - value) for squares and weight * (one-hot - probability) for classes. The squares thus have
a factor 1/2 that the papers do not write.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from yolojax.heads.yolov2 import AnchorOutputs, class_probs
from yolojax.losses.matcher import MIN_SIZE, Assignment
from yolojax.losses.targets import Targets, class_targets
from yolojax.ops.boxes import cxcywh_to_xyxy, iou
from yolojax.suggestions import choose


class LossTerms(NamedTuple):
    """The terms of a loss on one batch, and what else is reported."""

    terms: dict[str, jax.Array]  # {name: [B, ...]}, weighted
    metrics: dict[str, jax.Array] | None = None  # further ones, {name: scalar}
    assignment: Any = None  # of ground-truth boxes, for `yolojax explain`


@dataclass(frozen=True)
class SumOfTerms:
    """A loss (raw, batch, seen) -> (scalar, {name: scalar}): the sum of its terms.

    Each term is summed over everything and divided by the number of images B. The metrics are
    "loss", "loss_NAME" of each term, and those of LossTerms.
    """

    compute: Callable  # (raw, batch, seen) -> LossTerms

    def __call__(self, raw, batch, seen):
        """Return the scalar and the metrics."""
        terms, metrics, _ = self.compute(raw, batch, seen)
        means = mean_over_images(terms)
        scalar = sum(means.values())
        parts = {f"loss_{name}": mean for name, mean in means.items()}
        return scalar, jax.lax.stop_gradient({"loss": scalar} | parts | (metrics or {}))


def mean_over_images(terms: dict) -> dict:
    """Sum each term [B, ...] and divide by B -> {name: scalar}."""
    return {name: jnp.sum(term) / term.shape[0] for name, term in terms.items()}


def terms_of(loss: Callable, raw, batch, seen) -> LossTerms:
    """Compute the terms of a loss; no terms if it is not a SumOfTerms."""
    return loss.compute(raw, batch, seen) if isinstance(loss, SumOfTerms) else LossTerms({})


class Square(NamedTuple):
    """The parts of a squared term; Darknet's delta is weight * (target - value)."""

    value: jax.Array  # [B, ...]
    target: jax.Array | float
    weight: jax.Array


def squared_error(value, target, weight=1.0):
    """Compute half of weight * (target - value)**2, element by element."""
    error = target - value
    return 0.5 * (weight * error) * error  # in this order 0 * huge**2 is 0, not 0 * inf


def darknet_cost(squares: list[Square]):
    """Compute the loss that Darknet prints: sum(delta**2) / B, with the weights squared."""
    total = sum(jnp.sum((weight * (target - value)) ** 2) for value, target, weight in squares)
    return total / len(squares[0].value)


def cross_entropy(logits, labels, weight):
    """Compute weight * softmax cross-entropy [...] of logits [..., C] and labels int [...].

    The cost of a label outside 0..C-1 is 0.
    """
    chex.assert_equal_shape_prefix([logits, labels], labels.ndim)
    target = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return -weight * jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)


def binary_cross_entropy(logit, target):
    """Compute -y log p - (1 - y) log(1 - p) with p = sigmoid(logit), y = target in 0..1."""
    return jax.nn.softplus(logit) - logit * target


# Objectness terms: (logit, target in 0..1, gamma) -> cost, element by element.


def focal(logit, target, gamma: float):
    """Focal loss: y (1 - p)**gamma (-log p) + (1 - y) p**gamma (-log(1 - p)).

    Lin et al. 2017, equation 4, extended to targets y in 0..1; our weights replace its alpha. The
    minimum is at p = y only for y = 0 and y = 1.
    """
    log_p, log_rest = -jax.nn.softplus(-logit), -jax.nn.softplus(logit)
    positive = jnp.exp(gamma * log_rest) * log_p  # powers by logarithms: 0**0 has no gradient
    return -(target * positive + (1 - target) * jnp.exp(gamma * log_p) * log_rest)


def quality_focal(logit, target, gamma: float):
    """Quality focal loss: |y - p|**gamma times the cross-entropy (Li et al. 2020, equation 3)."""
    distance = jnp.abs(target - jax.nn.sigmoid(logit))
    return distance**gamma * binary_cross_entropy(logit, target)


OBJECTNESS_TERMS = {
    "squared": lambda logit, target, gamma: squared_error(jax.nn.sigmoid(logit), target),
    "bce": lambda logit, target, gamma: binary_cross_entropy(logit, target),
    "focal": focal,
    "quality_focal": quality_focal,
}


def check_gamma(objectness_loss: str, gamma: float) -> None:
    """Raise ValueError unless `gamma` suits the term; quality_focal has a kink below 1."""
    least = {"focal": 0.0, "quality_focal": 1.0}.get(objectness_loss, gamma)
    if gamma < least:
        raise ValueError(
            f"focal_gamma must be {least:g} or more for {objectness_loss}, got {gamma}."
        )


# Box terms. Each takes `values` and `target` [..., 4] in the units of targets.box_values, the boxes
# they stand for, `boxes_cxcywh` and `gt_cxcywh` [..., 4] in 0..1 of the network input, and returns
# the cost [...], which is 0 if both are equal.


def squared_box(values, target, boxes_cxcywh, gt_cxcywh):
    """Half the squared distance in the network's units (region_layer.c, delta_region_box)."""
    return jnp.sum(squared_error(values, target), axis=-1)


def squared_root(values, target, boxes_cxcywh, gt_cxcywh):
    """As `squared_box`, with the roots of sizes instead of logarithms (YOLOv1, equation 3)."""
    roots, target_roots = jnp.sqrt(_sizes(boxes_cxcywh)), jnp.sqrt(_sizes(gt_cxcywh))
    centres = squared_error(values[..., :2], target[..., :2])
    return jnp.sum(centres + squared_error(roots, target_roots), axis=-1)


def smooth_l1(values, target, boxes_cxcywh, gt_cxcywh):
    """Quadratic below a distance of 1, linear above (Girshick 2015, equation 3)."""
    distance = jnp.abs(values - target)
    near = jnp.minimum(distance, 1)
    return jnp.sum(near * (distance - near / 2), axis=-1)


def iou_cost(values, target, boxes_cxcywh, gt_cxcywh):
    """1 - IoU, in 0..1 (linear form of Yu et al. 2016); no gradient if boxes do not overlap."""
    return 1 - iou(cxcywh_to_xyxy(boxes_cxcywh), cxcywh_to_xyxy(gt_cxcywh))


def giou(values, target, boxes_cxcywh, gt_cxcywh):
    """1 - GIoU, in 0..2: adds the part of the hull outside both (Rezatofighi et al. 2019)."""
    overlap = iou(cxcywh_to_xyxy(boxes_cxcywh), cxcywh_to_xyxy(gt_cxcywh))
    areas = jnp.prod(boxes_cxcywh[..., 2:], -1) + jnp.prod(gt_cxcywh[..., 2:], -1)
    union = areas / (1 + overlap)  # areas = union + intersection = union * (1 + IoU)
    hull = jnp.prod(_hull(boxes_cxcywh, gt_cxcywh), axis=-1)
    return 1 - overlap + (hull - union) / hull


def diou(values, target, boxes_cxcywh, gt_cxcywh):
    """1 - IoU + d**2 / c**2, in 0..2 (Zheng et al. 2020, equation 7).

    d is the distance of the centres, c the diagonal of the hull.
    """
    distance = jnp.sum((boxes_cxcywh[..., :2] - gt_cxcywh[..., :2]) ** 2, axis=-1)
    diagonal = jnp.sum(_hull(boxes_cxcywh, gt_cxcywh) ** 2, axis=-1)
    return iou_cost(values, target, boxes_cxcywh, gt_cxcywh) + distance / diagonal


def ciou(values, target, boxes_cxcywh, gt_cxcywh):
    """DIoU cost + alpha * v for the aspect ratio, in 0..3 (Zheng et al. 2020, eq. 8 to 11).

    v = 4 / pi**2 * (atan(w_gt / h_gt) - atan(w / h))**2; alpha = v / (1 - IoU + v), a constant.
    """
    sizes, gt_sizes = _sizes(boxes_cxcywh), _sizes(gt_cxcywh)
    gt_angle = jnp.arctan(gt_sizes[..., 0] / gt_sizes[..., 1])
    aspect = 4 / jnp.pi**2 * (gt_angle - jnp.arctan(sizes[..., 0] / sizes[..., 1])) ** 2
    apart = iou_cost(values, target, boxes_cxcywh, gt_cxcywh)
    alpha = aspect / jnp.maximum(apart + aspect, jnp.finfo(apart.dtype).eps)  # avoids 0 / 0
    share = jax.lax.stop_gradient(alpha) * aspect
    return diou(values, target, boxes_cxcywh, gt_cxcywh) + share


def _sizes(boxes_cxcywh):
    """Return width and height [..., 2], large enough for finite gradients of roots and ratios."""
    return jnp.maximum(boxes_cxcywh[..., 2:], MIN_SIZE)


def _hull(a_cxcywh, b_cxcywh):
    """Return width and height [..., 2] of the smallest box around both."""
    a, b = cxcywh_to_xyxy(a_cxcywh), cxcywh_to_xyxy(b_cxcywh)
    return jnp.maximum(a[..., 2:], b[..., 2:]) - jnp.minimum(a[..., :2], b[..., :2])


BOX_TERMS = {
    "squared": squared_box,
    "squared_root": squared_root,
    "smooth_l1": smooth_l1,
    "iou": iou_cost,
    "giou": giou,
    "diou": diou,
    "ciou": ciou,
}


# Class terms: logits [..., C], target probabilities [..., C] and a key of
# heads.yolov2.ACTIVATIONS -> cost [..., C].


def class_cross_entropy(logits, target, activation: str):
    """-y log p for a softmax; the binary cross-entropy of each class for sigmoids (softmax=0)."""
    if activation == "sigmoid":
        return binary_cross_entropy(logits, target)
    return -target * jax.nn.log_softmax(logits)


def squared_class(logits, target, activation: str):
    """Half of (y - p)**2, as YOLOv1 has it for its unbounded p (equation 3)."""
    return squared_error(class_probs(logits, activation), target)


CLASS_TERMS = {"cross_entropy": class_cross_entropy, "squared": squared_class}


class ClassTerm(NamedTuple):
    """The class term of the region loss, and what is reported of the classes."""

    cost: jax.Array  # [B, ...], weighted
    darknet_cost: jax.Array | None  # sum(delta**2) / B; None if Darknet has no such term
    class_prob: jax.Array  # [B, M], probability of the label of each ground-truth box


def flat_class_term(
    class_weight: float,
    class_activation: str,
    *,
    class_loss: str,
    label_smoothing: float,
    class_weights,
) -> Callable:
    """Make the class term of classes without a tree; the arguments are those of `region_loss`.

    Returns:
        (raw, outputs, assignment, targets, batch) -> (targets, ClassTerm, further metrics).

    Raises:
        ValueError: an argument is unknown or out of range; when called, the number of
            class_weights is not that of the classes.
    """
    cost = choose("loss.class_loss", class_loss, CLASS_TERMS)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in 0..1, 1 excluded, got {label_smoothing}.")

    def class_term(raw, outputs: AnchorOutputs, assignment: Assignment, targets: Targets, batch):
        count = outputs.logits.shape[-1]
        factors = _class_factors(class_weights, count)
        weight = class_weight * assignment.responsible * factors[assignment.labels]
        target = class_targets(assignment, batch["labels"], count, class_activation)
        target = (1 - label_smoothing) * target + label_smoothing / count
        probs = class_probs(outputs.logits, class_activation)
        delta = Square(probs, target, weight[..., None])
        term = ClassTerm(
            cost=weight * jnp.sum(cost(outputs.logits, target, class_activation), axis=-1),
            darknet_cost=darknet_cost([delta]) if class_loss == "cross_entropy" else None,
            class_prob=_label_probs(probs, assignment, batch["labels"]),
        )
        return targets, term, {}

    return class_term


def _class_factors(class_weights, count: int):
    if len(class_weights) not in (0, count) or any(factor < 0 for factor in class_weights):
        raise ValueError(
            f"class_weights must be {count} numbers of 0 or more, one for each class, or none; got "
            f"{tuple(class_weights)}."
        )
    return jnp.asarray(class_weights or [1.0] * count, jnp.float32)


def _label_probs(probs, assignment: Assignment, labels):
    """Return the probability [B, M] of each ground-truth label at its main position."""
    batch, *_, classes = probs.shape
    rows = probs.reshape(batch, -1, classes)
    rows = jnp.take_along_axis(rows, assignment.gt_position[..., None], axis=1)  # [B, M, C]
    return jnp.sum(rows * jax.nn.one_hot(labels, classes), axis=-1)
