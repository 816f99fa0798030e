"""What the classes of responsible slots cost: the class terms of the region loss.

Each takes logits [..., C], what is wanted of the probabilities [..., C] and the activation, a key
of heads.yolov2.ACTIVATIONS, and gives the cost [..., C].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from yolojax.heads.yolov2 import Slots, class_probs
from yolojax.losses.assign import Assignment
from yolojax.losses.targets import Aims
from yolojax.losses.terms import (
    Square,
    binary_cross_entropy,
    darknet_cost,
    squared_error,
)
from yolojax.suggestions import choose


class ClassTerm(NamedTuple):
    """What the classes add to the loss."""

    cost: jax.Array  # [B, ...], the term
    darknet_cost: jax.Array | None  # sum(delta**2), averaged over B; None where Darknet has no such
    class_prob: jax.Array  # [B, M], of each truth's class at its slot


def cross_entropy(logits, wanted, activation: str):
    """-wanted * log p; of sigmoids the binary one, one class by itself (Darknet's softmax=0)."""
    if activation == "sigmoid":
        return binary_cross_entropy(logits, wanted)
    return -wanted * jax.nn.log_softmax(logits)


def squared(logits, wanted, activation: str):
    """Half of (wanted - p)**2, as YOLOv1 has it for its unbounded p (equation 3)."""
    return squared_error(class_probs(logits, activation), wanted)


CLASS_TERMS = {"cross_entropy": cross_entropy, "squared": squared}


def flat_classes(
    class_weight: float,
    class_activation: str,
    *,
    class_loss: str,
    label_smoothing: float,
    class_weights,
):
    """Make the lesson of classes without a tree; the arguments are those of `region_loss`.

    A lesson takes (raw, slots, found, aims, batch) and gives (aims, ClassTerm, more metrics).

    Raises:
        ValueError: an argument is out of its range or unknown; from the lesson, class_weights are
            not as many as the classes.
    """
    cost = choose("loss.class_loss", class_loss, CLASS_TERMS)
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"label_smoothing must be in 0..1, 1 excluded, got {label_smoothing}.")

    def lesson(raw, slots: Slots, found: Assignment, aims: Aims, batch):
        count = slots.logits.shape[-1]
        factors = _factors(class_weights, count)
        weight = class_weight * found.responsible * factors[found.labels]
        wanted = jax.nn.one_hot(found.labels, count)
        wanted = (1 - label_smoothing) * wanted + label_smoothing / count
        probs = class_probs(slots.logits, class_activation)
        delta = Square(probs, wanted, weight[..., None])
        term = ClassTerm(
            cost=weight * jnp.sum(cost(slots.logits, wanted, class_activation), axis=-1),
            darknet_cost=darknet_cost([delta]) if class_loss == "cross_entropy" else None,
            class_prob=_at_truths(probs, found, batch["labels"]),
        )
        return aims, term, {}

    return lesson


def _factors(class_weights, count: int):
    if len(class_weights) not in (0, count) or any(factor < 0 for factor in class_weights):
        raise ValueError(
            f"class_weights must be {count} numbers of 0 or more, one for each class, or none; got "
            f"{tuple(class_weights)}."
        )
    return jnp.asarray(class_weights or [1.0] * count, jnp.float32)


def _at_truths(probs, found: Assignment, labels):
    """The probability [B, M] of each truth's class at its slot."""
    batch, *_, classes = probs.shape
    rows = probs.reshape(batch, -1, classes)
    rows = jnp.take_along_axis(rows, found.truth_slot[..., None], axis=1)  # [B, M, C]
    return jnp.sum(rows * jax.nn.one_hot(labels, classes), axis=-1)
