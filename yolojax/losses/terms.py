"""Element-wise loss terms, and the one place where they are reduced.

Each term is written so that its derivative is Darknet's `delta`, negated: weight * (target - value)
for the squares, weight * (one-hot - probability) for the classes. So the squares carry a factor 1/2
that the papers do not write.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Square(NamedTuple):
    """A squared term before it is computed; Darknet's delta is weight * (target - value)."""

    value: jax.Array  # [B, ...]
    target: jax.Array | float
    weight: jax.Array


def squared_error(value, target, weight):
    """Half of weight * (target - value)**2, element by element."""
    error = target - value
    return 0.5 * (weight * error) * error  # this order keeps 0 * huge**2 from being 0 * inf


def cross_entropy(logits, labels, weight):
    """Softmax cross-entropy of logits [..., C] with labels int [...] -> weight * CE [...].

    A label outside 0..C-1 costs nothing.
    """
    wanted = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return -weight * jnp.sum(wanted * jax.nn.log_softmax(logits), axis=-1)


def reduce_terms(terms):
    """Named terms {name: [B, ...]} -> (their sum over everything, {name: sum}), images averaged."""
    means = {name: jnp.sum(term) / term.shape[0] for name, term in terms.items()}
    return sum(means.values()), means


def darknet_cost(squares: list[Square]):
    """What Darknet prints as loss: sum(delta**2), so with its weights squared; images averaged."""
    total = sum(jnp.sum((weight * (target - value)) ** 2) for value, target, weight in squares)
    return total / len(squares[0].value)
