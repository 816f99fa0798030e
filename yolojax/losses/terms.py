"""Element-wise loss terms, and the one place where they are reduced.

Darknet's terms are written so that their derivative is its `delta`, negated: weight * (target -
value) for the squares, weight * (one-hot - probability) for the classes. So the squares carry a
factor 1/2 that the papers do not write.
"""

from contextvars import ContextVar
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Square(NamedTuple):
    """A squared term before it is computed; Darknet's delta is weight * (target - value)."""

    value: jax.Array  # [B, ...]
    target: jax.Array | float
    weight: jax.Array


def squared_error(value, target, weight=1.0):
    """Half of weight * (target - value)**2, element by element."""
    error = target - value
    return 0.5 * (weight * error) * error  # this order keeps 0 * huge**2 from being 0 * inf


def cross_entropy(logits, labels, weight):
    """Softmax cross-entropy of logits [..., C] with labels int [...] -> weight * CE [...].

    A label outside 0..C-1 costs nothing.
    """
    wanted = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return -weight * jnp.sum(wanted * jax.nn.log_softmax(logits), axis=-1)


def binary_cross_entropy(logit, target):
    """-y log p - (1 - y) log(1 - p) with p = sigmoid(logit) and y = target in 0..1."""
    return jax.nn.softplus(logit) - logit * target


def focal(logit, target, gamma: float):
    """Focal loss: y (1 - p)**gamma (-log p) + (1 - y) p**gamma (-log(1 - p)).

    Lin et al. 2017, equation 4, for targets y in 0..1; the factor alpha there is our weights. Its
    minimum is at p = y only for y of 0 or 1.
    """
    log_p, log_rest = -jax.nn.softplus(-logit), -jax.nn.softplus(logit)
    found = jnp.exp(gamma * log_rest) * log_p  # powers by logarithms: 0**0 has no gradient
    return -(target * found + (1 - target) * jnp.exp(gamma * log_p) * log_rest)


def quality_focal(logit, target, gamma: float):
    """Quality focal loss, |y - p|**gamma times the cross-entropy (Li et al. 2020, equation 3)."""
    distance = jnp.abs(target - jax.nn.sigmoid(logit))
    return distance**gamma * binary_cross_entropy(logit, target)


# (logit, target in 0..1, gamma) -> cost, element by element.
OBJECTNESS_TERMS = {
    "squared": lambda logit, target, gamma: squared_error(jax.nn.sigmoid(logit), target),
    "bce": lambda logit, target, gamma: binary_cross_entropy(logit, target),
    "focal": focal,
    "quality_focal": quality_focal,
}


def check_gamma(objectness: str, gamma: float) -> None:
    """Raises ValueError unless `gamma` suits the term: quality_focal bends at y = p below 1."""
    least = {"focal": 0.0, "quality_focal": 1.0}.get(objectness, gamma)
    if gamma < least:
        raise ValueError(f"focal_gamma must be {least:g} or more for {objectness}, got {gamma}.")


def reduce_terms(terms):
    """Named terms {name: [B, ...]} -> (their sum over everything, {name: sum}), images averaged."""
    for name, term in terms.items():
        keep(name, term)
    means = {name: jnp.sum(term) / term.shape[0] for name, term in terms.items()}
    return sum(means.values()), means


def darknet_cost(squares: list[Square]):
    """What Darknet prints as loss: sum(delta**2), so with its weights squared; images averaged."""
    total = sum(jnp.sum((weight * (target - value)) ** 2) for value, target, weight in squares)
    return total / len(squares[0].value)


_KEPT: ContextVar[dict | None] = ContextVar("kept", default=None)


def keep(name: str, value) -> None:
    """Show `value`, of a loss at work, to `with_terms`; without it nothing happens."""
    kept = _KEPT.get()
    if kept is not None:
        kept[name] = value


def with_terms(loss):
    """`loss` that gives (scalar, metrics, {name: what it kept}) instead of (scalar, metrics).

    Of what is kept the terms that entered `reduce_terms` have their own names, [B, ...], and
    "found" is the assignment. `loss` itself must not be jitted; the result may be.
    """

    def seen_through(raw, batch, seen):
        kept = {}
        token = _KEPT.set(kept)
        try:
            scalar, metrics = loss(raw, batch, seen)
        finally:
            _KEPT.reset(token)
        return scalar, metrics, kept

    return seen_through
